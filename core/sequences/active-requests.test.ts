import { expect } from 'chai';
import fc from 'fast-check';
import { ActiveRequests, type Placement } from './active-requests.ts';

function placement(instanceId: bigint, extra: Partial<Placement> = {}): Placement {
  return { instanceId, dataParallelRank: 0, model: 'm', prefillTokens: 40, blocks: 3, blockSize: 16, ...extra };
}

const owner = fc.constantFrom('a', 'b', 'c');
const id = fc.integer({ min: 0, max: 12 }).map(String);
const worker = fc.bigInt({ min: 1n, max: 4n });
const event = fc.oneof(
  fc.record({ do: fc.constant('place' as const), owner, id, worker, rank: fc.integer({ min: 0, max: 1 }) }),
  fc.record({ do: fc.constant('prefill' as const), owner, id }),
  fc.record({ do: fc.constant('output' as const), owner, id, tokens: fc.integer({ min: 0, max: 400 }) }),
  fc.record({ do: fc.constant('finish' as const), owner, id }),
  fc.record({ do: fc.constant('endOwner' as const), owner }),
  fc.record({ do: fc.constant('endWorker' as const), worker }),
);

describe('ActiveRequests', () => {
  it('counts a request from placement to finish', () => {
    const active = new ActiveRequests();
    active.place('a', '1', placement(7n));
    expect(active.totals(7n, 0)).to.deep.equal({ activeRequests: 1, activePrefillTokens: 40, activeBlocks: 3 });
    active.prefillDone('a', '1');
    active.prefillDone('a', '1');
    active.output('a', '1', 33);
    active.output('a', '1', 20);
    expect(active.totals(7n, 0)).to.deep.equal({ activeRequests: 1, activePrefillTokens: 0, activeBlocks: 5 });
    expect(active.finish('a', '1')).to.not.equal(null);
    expect(active.finish('a', '1')).to.equal(null);
    expect(active.totals(7n, 0).activeBlocks).to.equal(0);
  });

  it('keeps equal identifiers of different owners apart', () => {
    const active = new ActiveRequests();
    expect(active.place('a', '1', placement(1n))).to.equal(true);
    expect(active.place('b', '1', placement(2n))).to.equal(true);
    expect(active.place('a', '1', placement(2n))).to.equal(false);
    active.endOwner('a');
    expect(active.has('b', '1')).to.equal(true);
    expect(active.totals(1n, 0).activeRequests).to.equal(0);
  });

  it('returns every count to zero whatever happens in between', () => {
    fc.assert(
      fc.property(fc.array(event, { minLength: 1000, maxLength: 1000 }), (events) => {
        const active = new ActiveRequests();
        for (const e of events) {
          if (e.do === 'place') active.place(e.owner, e.id, placement(e.worker, { dataParallelRank: e.rank }));
          else if (e.do === 'prefill') active.prefillDone(e.owner, e.id);
          else if (e.do === 'output') active.output(e.owner, e.id, e.tokens);
          else if (e.do === 'finish') active.finish(e.owner, e.id);
          else if (e.do === 'endOwner') active.endOwner(e.owner);
          else active.endWorker(e.worker);
          for (const w of [1n, 2n, 3n, 4n])
            if (Object.values(active.totals(w, 0)).some((value) => value < 0)) expect.fail(`worker ${w} below zero`);
        }
        for (const o of ['a', 'b', 'c']) active.endOwner(o);
        expect([active.size, active.owners]).to.deep.equal([0, 0]);
        for (const w of [1n, 2n, 3n, 4n])
          for (const rank of [0, 1])
            expect(active.totals(w, rank)).to.deep.equal({
              activeRequests: 0,
              activePrefillTokens: 0,
              activeBlocks: 0,
            });
      }),
      { numRuns: 100 },
    );
  });
});
