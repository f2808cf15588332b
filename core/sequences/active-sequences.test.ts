import { expect } from 'chai';
import fc from 'fast-check';
import { ActiveSequences } from './active-sequences.ts';
import type { SequenceRequest } from './sequence-request.ts';
import { chained, NaiveSequences, seeded } from './twin.test-support.ts';

const idle = { activeRequests: 0, activePrefillTokens: 0, activeBlocks: 0, activeTokens: 0 };

/** A request of 16-token blocks whose prompt is one token per block's content. */
function request(slot: number, content: readonly number[], extra: Partial<SequenceRequest> = {}): SequenceRequest {
  return {
    slot,
    blockSize: 16,
    promptTokens: content.length * 16,
    cachedTokens: 0,
    sequenceHashes: chained(content),
    ...extra,
  };
}

describe('ActiveSequences', () => {
  it('counts a request from placement to finish', () => {
    const active = new ActiveSequences();
    active.add('a', '1', request(7, [1, 2], { promptTokens: 40, cachedTokens: 16, expectedOutputTokens: 100 }), 0);
    // 24 uncached tokens; two full blocks and the partial one.
    expect(active.load(7, 0)).to.deep.equal({
      activeRequests: 1,
      activePrefillTokens: 24,
      activeBlocks: 3,
      activeTokens: 140,
    });
    expect(active.prefillDone('a', '1', 0)).to.equal(true);
    expect(active.prefillDone('a', '1', 0)).to.equal(true);
    expect(active.load(7, 0).activePrefillTokens).to.equal(0);
    expect(active.finish('a', '1', 0)?.request.slot).to.equal(7);
    expect(active.finish('a', '1', 0)).to.equal(null);
    expect(active.load(7, 0)).to.deep.equal(idle);
  });

  it('counts blocks that requests of a slot share once', () => {
    const active = new ActiveSequences();
    active.add('a', '1', request(0, [1, 2, 3]), 0);
    active.add('a', '2', request(0, [1, 2, 4, 5]), 0);
    active.add('a', '3', request(1, [1, 2]), 0);
    expect([active.activeBlocks(0), active.activeBlocks(1)]).to.deep.equal([5, 2]);
    active.finish('a', '1', 0);
    expect(active.activeBlocks(0)).to.equal(4);
    active.finish('a', '2', 0);
    expect([active.activeBlocks(0), active.activeBlocks(1)]).to.deep.equal([0, 2]);
  });

  it('keeps no trace of a prompt that parted from another', () => {
    const active = new ActiveSequences();
    active.add('a', '1', request(0, [1, 2, 3, 4]), 0);
    active.add('a', '2', request(0, [1, 2, 5]), 0);
    expect(active.promptNodes).to.equal(3);
    active.finish('a', '2', 0);
    expect(active.promptNodes).to.equal(1);
    const shared = new Uint32Array(1);
    active.potentialBlocks(request(0, [1, 2, 3, 9]), shared);
    expect(shared[0]).to.equal(3);
  });

  it('tells how much of a prompt every slot has active', () => {
    const active = new ActiveSequences();
    active.add('a', '1', request(0, [1, 2, 3]), 0);
    active.add('a', '2', request(1, [1, 2, 4, 5]), 0);
    active.add('a', '3', request(2, [9]), 0);
    const shared = new Uint32Array(4);
    expect(active.potentialBlocks(request(0, [1, 2, 4, 6], { promptTokens: 70 }), shared)).to.equal(5);
    expect([...shared]).to.deep.equal([2, 3, 0, 0]);
  });

  it('reads hashes from where a message has them, aligned or not', () => {
    const active = new ActiveSequences();
    active.add('a', '1', request(0, [1, 2, 3]), 0);
    const shared = new Uint32Array(1);
    for (const offset of [1, 2, 4]) {
      const message = new Uint8Array(40);
      message.set(chained([1, 2, 3]), offset);
      active.potentialBlocks(request(0, [1, 2, 3], { sequenceHashes: message.subarray(offset, offset + 24) }), shared);
      expect(shared[0]).to.equal(3);
    }
  });

  it('shares nothing of a request that must not', () => {
    const active = new ActiveSequences();
    active.add('a', '1', request(0, [1, 2]), 0);
    active.add('a', '2', request(0, [1, 2], { assumeKvReuse: false }), 0);
    expect(active.activeBlocks(0)).to.equal(4);
    const shared = new Uint32Array(1);
    expect(active.potentialBlocks(request(0, [1, 2], { assumeKvReuse: false }), shared)).to.equal(2);
    expect(shared[0]).to.equal(0);
  });

  it('gives every sequence its own partial block and output', () => {
    const active = new ActiveSequences({ trackOutputBlocks: true });
    active.add('a', '1', request(0, [1, 2], { promptTokens: 40, sequences: 3 }), 0);
    expect(active.activeBlocks(0)).to.equal(2 + 3);
    // 8 tokens each fill the partial blocks, a 9th begins another.
    active.output('a', '1', 24, 0);
    expect(active.activeBlocks(0)).to.equal(2 + 3);
    active.output('a', '1', 25, 0);
    expect(active.activeBlocks(0)).to.equal(2 + 6);
    active.output('a', '1', 3, 0);
    expect(active.activeBlocks(0)).to.equal(2 + 6);
  });

  it('lets blocks of one request weigh less the nearer its end is', () => {
    const active = new ActiveSequences({ trackOutputBlocks: true });
    active.add('a', '1', request(0, [1, 2], { expectedOutputTokens: 64 }), 0);
    active.output('a', '1', 16, 0);
    // Two prompt blocks and one of output at 1 − 16/64.
    expect(active.activeBlocks(0)).to.equal(3 * 0.75);
    active.add('a', '2', request(0, [1, 5]), 0);
    // The first block is shared now and counts in full: 1 + (1 + 1) · 0.75 + 1.
    expect(active.activeBlocks(0)).to.equal(3.5);
    active.output('a', '1', 200, 0);
    expect(active.activeBlocks(0)).to.equal(2);
    active.finish('a', '2', 0);
    expect(active.activeBlocks(0)).to.equal(0);
    active.finish('a', '1', 0);
    expect(active.load(0, 0)).to.deep.equal(idle);
  });

  it('does not count prompts that are not to be tracked', () => {
    const active = new ActiveSequences();
    active.add('a', '1', request(0, [1], { trackPrefillTokens: false }), 0);
    expect(active.activePrefillTokens(0, 0)).to.equal(0);
  });

  it('lets a modelled backlog shrink with time, into later prompts too', () => {
    const active = new ActiveSequences();
    const ten = (ms: number | undefined) => request(0, [], { promptTokens: 1000, expectedPrefillMs: ms });
    active.add('a', '1', ten(100), 0);
    active.add('a', '2', ten(200), 0);
    expect(active.activePrefillTokens(0, 50)).to.equal(1500);
    expect(active.activePrefillMs(0, 50)).to.equal(250);
    expect(active.activePrefillTokens(0, 150)).to.equal(500);
    active.prefillDone('a', '1', 150);
    // The second is the oldest since 150.
    expect(active.activePrefillTokens(0, 150)).to.equal(1000);
    expect(active.activePrefillTokens(0, 250)).to.equal(500);
    expect(active.activePrefillTokens(0, 1)).to.equal(1000);
    active.add('a', '3', ten(undefined), 250);
    // Without a model for all, only the oldest shrinks.
    expect(active.activePrefillTokens(0, 10_000)).to.equal(1000);
    expect(active.activePrefillMs(0, 10_000)).to.equal(undefined);
    active.endOwner('a', 0);
    expect(active.load(0, 0)).to.deep.equal(idle);
  });

  it('keeps equal identifiers of different owners apart', () => {
    const active = new ActiveSequences();
    expect(active.add('a', '1', request(1, [1]), 0)).to.equal(true);
    expect(active.add('b', '1', request(2, [1]), 0)).to.equal(true);
    expect(active.add('a', '1', request(2, [1]), 0)).to.equal(false);
    expect(active.endOwner('a', 0)).to.equal(1);
    expect(active.has('b', '1')).to.equal(true);
    expect([active.activeRequests(1), active.activeRequests(2)]).to.deep.equal([0, 1]);
  });

  it('lists what is in flight, with hashes of its own', () => {
    const active = new ActiveSequences();
    const hashes = chained([1, 2]);
    active.add('a', '1', request(3, [], { sequenceHashes: hashes, promptTokens: 32 }), 0);
    hashes.fill(0);
    active.output('a', '1', 5, 0);
    const [entry, ...others] = [...active.entries()];
    expect(others).to.deep.equal([]);
    expect(entry).to.include({ owner: 'a', requestId: '1', prefillDone: true, outputTokens: 5 });
    expect(entry?.request.sequenceHashes).to.deep.equal(chained([1, 2]));
  });

  it('ends everything on a slot', () => {
    const active = new ActiveSequences();
    active.add('a', '1', request(3, [1]), 0);
    active.add('b', '2', request(3, [1, 2]), 0);
    active.add('b', '3', request(4, [1, 2]), 0);
    expect([active.endSlot(3, 0), active.endSlot(3, 0), active.size]).to.deep.equal([2, 0, 1]);
    expect(active.load(3, 0)).to.deep.equal(idle);
    expect(active.get('b', '3')?.request.slot).to.equal(4);
  });

  it('survives hashes that are no chain', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.bigInt({ min: 0n, max: 3n }), { maxLength: 6 }), { maxLength: 8 }),
        fc.integer(),
        (columns, seed) => {
          const random = seeded(seed);
          const active = new ActiveSequences({ trackOutputBlocks: true });
          for (const [i, column] of columns.entries()) {
            const sequenceHashes = new Uint8Array(new BigUint64Array(column).buffer);
            active.add('a', String(i), request(i % 2, [], { sequenceHashes, expectedOutputTokens: 9 }), 0);
            active.output('a', String(i), 4, 0);
          }
          const order = columns.map((_, i) => i).toSorted(() => random() - 0.5);
          for (const i of order) active.finish('a', String(i), 0);
          expect([active.load(0, 0), active.load(1, 0), active.promptNodes]).to.deep.equal([idle, idle, 0]);
        },
      ),
    );
  });

  it('leaves nothing of many that come and go whose hashes are no chain', () => {
    const random = seeded(7);
    const below = (n: number) => Math.floor(random() * n);
    const active = new ActiveSequences();
    const running: string[] = [];
    for (let step = 0; step < 5000; step++) {
      if (running.length < 30 && below(2) === 0) {
        const hashes = BigUint64Array.from({ length: 8 }, () => BigInt(1 + below(3)));
        const sequenceHashes = new Uint8Array(hashes.buffer);
        active.add('a', String(step), request(below(3), [], { sequenceHashes }), 0);
        running.push(String(step));
      } else {
        const [id = ''] = running.splice(below(running.length), 1);
        active.finish('a', id, 0);
      }
      for (const slot of [0, 1, 2]) expect(active.activeBlocks(slot), `step ${step}`).to.be.at.least(0);
    }
    active.endOwner('a', 0);
    for (const slot of [0, 1, 2]) expect(active.load(slot, 0)).to.deep.equal(idle);
    expect(active.promptNodes).to.equal(0);
  });

  it('agrees with a naive count and returns to zero after 100,000 random requests', function () {
    this.timeout(120_000);
    const random = seeded(4);
    const below = (n: number) => Math.floor(random() * n);
    const slots = 6;
    const active = new ActiveSequences({ trackOutputBlocks: true });
    const naive = new NaiveSequences();
    const owners = ['a', 'b', 'c', 'd'];
    const someone = () => owners[below(owners.length)] ?? 'a';
    const compare = () => {
      const shared = new Uint32Array(slots);
      const probe = randomContent(below);
      active.potentialBlocks(request(0, probe), shared);
      for (let slot = 0; slot < slots; slot++) {
        expect(active.load(slot, 0)).to.deep.equal(naive.load(slot));
        expect(shared[slot]).to.equal(naive.leading(slot, probe));
      }
      expect([active.size, [...active.entries()].length]).to.deep.equal([naive.size, naive.size]);
      expect(active.promptNodes).to.be.at.most(2 * naive.size);
    };
    let added = 0;
    for (let step = 0; added < 100_000; step++) {
      const owner = someone();
      const id = String(below(60));
      const what = random();
      if (what < 0.5) {
        const content = randomContent(below);
        const wanted = {
          slot: below(slots),
          blockSize: 4,
          promptTokens: content.length * 4 + below(4),
          cachedTokens: below(3) * 4,
          sequences: 1 + below(3),
          assumeKvReuse: random() < 0.9,
          trackPrefillTokens: random() < 0.9,
          expectedOutputTokens: random() < 0.7 ? below(50) : undefined,
        };
        const fresh = naive.add(owner, id, { ...wanted, content });
        const sequenceHashes = chained(content);
        if (active.add(owner, id, { ...wanted, sequenceHashes }, 0) !== fresh) expect.fail(`step ${step}`);
        added++;
      } else if (what < 0.6) {
        active.prefillDone(owner, id, 0);
        naive.prefillDone(owner, id);
      } else if (what < 0.75) {
        const tokens = below(60);
        active.output(owner, id, tokens, 0);
        naive.output(owner, id, tokens);
      } else if (what < 0.998) {
        active.finish(owner, id, 0);
        naive.finish(owner, id);
      } else if (what < 0.999) {
        active.endOwner(owner, 0);
        naive.endOwner(owner);
      } else {
        const slot = below(slots);
        active.endSlot(slot, 0);
        naive.endSlot(slot);
      }
      if (step % 500 === 0) compare();
    }
    compare();
    for (const owner of owners) active.endOwner(owner, 0);
    expect([active.size, active.owners, active.promptNodes]).to.deep.equal([0, 0, 0]);
    for (let slot = 0; slot < slots; slot++) expect(active.load(slot, 0)).to.deep.equal(idle);
  });
});

/** Prompts that often begin alike. */
function randomContent(below: (n: number) => number): number[] {
  return Array.from({ length: below(12) }, (_, depth) => (depth < 4 ? below(2) : below(3)));
}
