import { expect } from 'chai';
import fc from 'fast-check';
import { Tier } from '#gen/stator/events/v1/events_pb.ts';
import { hashChain } from '#native/tokens/index.ts';
import { blockHashSeed } from '../tokens/block-hash.ts';
import { mediaPadToken } from '../tokens/media-hash.ts';
import { unpackHashes } from '../tokens/packed-hashes.ts';
import type { EngineBlocksStored, EngineEvent, EventOrigin } from './engine-event.ts';
import { EventConverter, type KvChange } from './event-converter.ts';
import type { PlaceholderTokens } from './media-placeholders.ts';

const origin: EventOrigin = {
  medium: null,
  cacheGroup: null,
  cacheKind: null,
  slidingWindow: null,
  locality: null,
  ownership: null,
};
const plain = { seed: blockHashSeed('', ''), parent: null, eagle: false, media: null, runs: null };
const prompt = Uint32Array.from({ length: 13 }, (_, i) => i + 1);

function stored(ids: bigint[], tokens: Iterable<number>, more: Partial<EngineBlocksStored> = {}): EngineBlocksStored {
  return {
    type: 'stored',
    blockHashes: BigUint64Array.from(ids),
    parentHash: null,
    tokenIds: Uint32Array.from(tokens),
    blockSize: 4,
    eagle: false,
    adapter: '',
    adapterId: null,
    cacheSalt: '',
    media: null,
    sessionId: null,
    origin,
    ...more,
  };
}

function removed(ids: bigint[], more: Partial<EventOrigin> = {}): EngineEvent {
  return { type: 'removed', blockHashes: BigUint64Array.from(ids), origin: { ...origin, ...more } };
}

/** A converter that writes down what it tells. */
function converter(o: { maxBlocks?: number; placeholders?: PlaceholderTokens } = {}) {
  const told: string[] = [];
  const made = new EventConverter(
    {
      dataParallelRank: 2,
      blockSize: 4,
      maxBlocks: o.maxBlocks ?? 100,
      placeholders: o.placeholders ?? { image: null, video: null },
      hashChain,
    },
    {
      applied: (type, blocks) => told.push(`${type} ${blocks}`),
      unmatched: (blocks) => told.push(`unmatched ${blocks}`),
      dropped: (reason) => told.push(reason),
    },
  );
  return {
    told,
    made,
    all: (...events: EngineEvent[]): unknown[] => events.flatMap((event) => made.convert(event)).map(read),
  };
}

/** A change in a form that reads well. */
function read({ change, dataParallelRank }: KvChange): unknown {
  expect(dataParallelRank).to.equal(2);
  if (change.case === 'removed')
    return { removed: [...unpackHashes(change.value.sequenceHashes)], tier: change.value.tier };
  if (change.case !== 'stored') return change.case;
  const { parentSequenceHash: parent, sequenceHashes, localHashes, tier, startBlock } = change.value;
  return {
    parent: parent ?? null,
    stored: [...unpackHashes(sequenceHashes)],
    locals: [...unpackHashes(localHashes)],
    tier,
    startBlock,
  };
}

const hashes = (tokens: Uint32Array, more: Partial<Parameters<typeof hashChain>[2]> = {}) => {
  const { localHashes, sequenceHashes } = hashChain(tokens, 4, { ...plain, ...more });
  return { stored: [...sequenceHashes], locals: [...localHashes] };
};

describe('engine event converter', () => {
  it('gives blocks the hashes of their prompt, whatever the engine calls them', () => {
    const { all, told } = converter();
    const whole = hashes(prompt);
    expect(all(stored([70n, 71n], prompt.subarray(0, 8)))).to.deep.equal([
      {
        parent: null,
        stored: whole.stored.slice(0, 2),
        locals: whole.locals.slice(0, 2),
        tier: Tier.DEVICE,
        startBlock: 0,
      },
    ]);
    expect(all(stored([72n], prompt.subarray(8, 12), { parentHash: 71n }))).to.deep.equal([
      {
        parent: whole.stored[1],
        stored: [whole.stored[2]],
        locals: [whole.locals[2]],
        tier: Tier.DEVICE,
        startBlock: 2,
      },
    ]);
    expect(all(removed([72n, 70n]))).to.deep.equal([
      { removed: [whole.stored[2], whole.stored[0]], tier: Tier.DEVICE },
    ]);
    expect(told).to.deep.equal(['stored 2', 'stored 1', 'removed 2']);
  });

  it('hashes adapters, cache salts that children inherit, media and Eagle windows', () => {
    const { all } = converter();
    const tenant = blockHashSeed('lora-a', 'tenant-a');
    const media = { blocks: Uint32Array.of(0), hashes: BigUint64Array.of(7n) };
    const whole = hashes(prompt, { seed: tenant });
    expect(all(stored([1n], prompt.subarray(0, 4), { adapter: 'lora-a', cacheSalt: 'tenant-a' }))).to.containSubset([
      { stored: whole.stored.slice(0, 1) },
    ]);
    expect(all(stored([2n], prompt.subarray(4, 8), { adapter: 'lora-a', parentHash: 1n }))).to.containSubset([
      { stored: whole.stored.slice(1, 2) },
    ]);
    expect(all(stored([3n, 4n, 5n], prompt, { eagle: true, media }))).to.containSubset([
      hashes(prompt, { eagle: true, media }),
    ]);
  });

  it('replaces placeholders by pad tokens where objects can be told apart, as routers do', () => {
    const { all } = converter({ placeholders: { image: 99, video: null } });
    const media = { blocks: Uint32Array.of(0, 1), hashes: BigUint64Array.of(7n, 8n) };
    const tokens = [1, 99, 99, 4, 5, 6, 7, 8];
    const padded = Uint32Array.from([1, mediaPadToken(7n), mediaPadToken(7n), 4, 5, 6, 7, 8]);
    const second = { blocks: Uint32Array.of(1), hashes: BigUint64Array.of(8n) };
    expect(all(stored([1n, 2n], tokens, { media }))).to.containSubset([hashes(padded, { media: second })]);
    const eagle = Uint32Array.from([...padded, 9]);
    expect(all(stored([3n, 4n], [...tokens, 9], { media, eagle: true }))).to.containSubset([
      hashes(eagle, { media: second, eagle: true }),
    ]);
  });

  it('drops what is not cached prefix of this worker, and says why', () => {
    const { all, told } = converter();
    const at = (more: Partial<EventOrigin>): EngineEvent =>
      stored([1n], [1, 2, 3, 4], { origin: { ...origin, ...more } });
    const groups = [
      at({ cacheGroup: 1, cacheKind: 'sliding_window' }),
      at({ cacheGroup: 2, cacheKind: 'attention_of_the_future' }),
      at({ cacheGroup: 3 }),
      removed([1n], { cacheGroup: 1 }),
    ];
    const others = [at({ locality: 'REMOTE' }), at({ medium: 'FS' }), at({ ownership: 'kvcr' })];
    expect(all(...groups, ...others, { type: 'ignored' })).to.deep.equal([]);
    expect(told).to.deep.equal([
      'other_attention',
      'unknown_attention',
      'unknown_cache_group',
      'other_attention',
      'not_local',
      'unknown_medium',
      'foreign_owner',
      'ignored',
    ]);
    const kept = [at({ cacheGroup: 0 }), at({ cacheGroup: 4, cacheKind: 'mla_attention' }), at({ cacheGroup: 4 })];
    all(...kept, at({ locality: 'LOCAL', medium: 'CPU' }));
    expect(told.slice(8)).to.deep.equal(['stored 1', 'stored 1', 'stored 1', 'stored 1']);
  });

  it('drops events that cannot be right', () => {
    const { all, told } = converter();
    expect(all(stored([1n, 1n], prompt.subarray(0, 8)), stored([1n], [1, 2, 3, 4], { parentHash: 1n }))).to.deep.equal(
      [],
    );
    expect(all(stored([1n], prompt.subarray(0, 8), { blockSize: 8 }))).to.deep.equal([]);
    expect(all(stored([1n], [1, 2, 3, 4], { parentHash: 9n }))).to.deep.equal([]);
    expect(told).to.deep.equal([
      'self_reference',
      'self_reference',
      'wrong_block_size',
      'unmatched 1',
      'unknown_parent',
    ]);
    expect(all(stored([1n, 2n], [1, 2, 3, 4, 5]))).to.have.length(1);
    expect(told.slice(5)).to.deep.equal(['too_few_tokens', 'stored 1']);
    expect(all(stored([1n], [5, 6, 7, 8]))).to.deep.equal([]);
    expect(told.slice(7)).to.deep.equal(['conflicting_block']);
  });

  it('forwards a removal when the last copy goes, in each tier for itself', () => {
    const { all, told, made } = converter();
    const [hash] = hashes(prompt.subarray(0, 4)).stored;
    const host = { origin: { ...origin, medium: 'CPU' } };
    expect(all(stored([1n], [1, 2, 3, 4]))).to.have.length(1);
    // Twice by the same name, once by another, as with media that the engine alone tells apart.
    expect(all(stored([1n], [1, 2, 3, 4]), stored([2n], [1, 2, 3, 4]))).to.deep.equal([]);
    expect(all(stored([1n], [1, 2, 3, 4], host))).to.containSubset([{ stored: [hash], tier: Tier.HOST }]);
    expect(all(removed([1n]), removed([2n]))).to.deep.equal([]);
    expect(all(removed([1n]))).to.deep.equal([{ removed: [hash], tier: Tier.DEVICE }]);
    told.length = 0;
    expect(all(removed([1n]), removed([9n]))).to.deep.equal([]);
    expect(told).to.deep.equal(['unmatched 1', 'unmatched 1']);
    expect(all(removed([1n], { medium: 'CPU_PINNED' }))).to.deep.equal([{ removed: [hash], tier: Tier.HOST }]);
    expect(made.blocks).to.equal(0);
  });

  it('knows blocks that lower tiers name without tokens', () => {
    const { all, told } = converter();
    const whole = hashes(prompt);
    const disk = { origin: { ...origin, medium: 'DISK' } };
    all(stored([1n, 2n, 3n], prompt.subarray(0, 12)));
    expect(all(stored([2n, 3n, 8n], [], disk))).to.deep.equal([
      {
        parent: whole.stored[0],
        stored: whole.stored.slice(1),
        locals: whole.locals.slice(1),
        tier: Tier.DISK,
        startBlock: 1,
      },
    ]);
    expect(told).to.deep.equal(['stored 3', 'unmatched 1', 'unknown_block', 'stored 2']);
  });

  it('keeps to its bound and says so', () => {
    const { all, told, made } = converter({ maxBlocks: 2 });
    const whole = hashes(prompt);
    expect(all(stored([1n, 2n, 3n], prompt.subarray(0, 12)))).to.containSubset([{ stored: whole.stored.slice(0, 2) }]);
    expect(told).to.deep.equal(['table_full', 'stored 2']);
    expect(made.blocks).to.equal(2);
  });

  it('clears', () => {
    const { all, told, made } = converter();
    all(stored([1n], [1, 2, 3, 4]));
    expect(all({ type: 'cleared', origin })).to.deep.equal(['cleared']);
    expect([made.blocks, told.at(-1)]).to.deep.equal([0, 'cleared 1']);
    expect(all(removed([1n]))).to.deep.equal([]);
  });

  it('holds after any events what a plain model holds, and its snapshot says the same', () => {
    // Blocks are nodes of a small tree of prompts; every node has two engine names.
    const node = fc.integer({ min: 0, max: 30 });
    const step = fc.record({
      kind: fc.constantFrom('store', 'store', 'store', 'remove', 'name'),
      node,
      name: fc.nat(1),
      medium: fc.constantFrom(null, 'CPU', 'DISK'),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const { made } = converter();
        const tree = treeOfBlocks(31);
        const model = new Map<string, number>();
        const index = new Map<string, bigint>();
        for (const { kind, node: at, name, medium } of steps) {
          const block = tree[at];
          if (block === undefined) continue;
          const id = nameOf(at, name);
          const tier = medium ?? 'GPU';
          const names = [...model.keys()].some((key) => key.endsWith(`/${id}`));
          const parentId = block.up === null ? null : nameOf(block.up, 0);
          const parentKnown = parentId === null || [...model.keys()].some((key) => key.endsWith(`/${parentId}`));
          const from = { origin: { ...origin, medium }, parentHash: parentId };
          const event =
            kind === 'remove' ? removed([id], { medium }) : stored([id], kind === 'name' ? [] : block.tokens, from);
          const key = `${tier}/${id}`;
          if (kind === 'remove') {
            const count = model.get(key) ?? 0;
            if (count > 1) model.set(key, count - 1);
            else model.delete(key);
          } else if (kind === 'name' ? names : parentKnown) model.set(key, (model.get(key) ?? 0) + 1);
          apply(index, made.convert(event));
        }
        const expected = new Set(
          [...model.keys()].map((key) => {
            const [tier, id] = key.split('/');
            return `${tier === 'GPU' ? 1 : tier === 'CPU' ? 2 : 3}/${tree[Math.floor(Number(id) / 2)]?.sequence}`;
          }),
        );
        expect(new Set(index.keys())).to.deep.equal(expected);
        const rebuilt = new Map<string, bigint>();
        for (const change of made.snapshot()) {
          const parent = change.change.case === 'stored' ? change.change.value.parentSequenceHash : undefined;
          const key = change.change.case === 'stored' ? `${change.change.value.tier}/${parent}` : '';
          if (index.has(key)) expect(rebuilt.has(key)).to.equal(true);
          apply(rebuilt, [change]);
        }
        expect(rebuilt).to.deep.equal(index);
      }),
      { numRuns: 300 },
    );
  });
});

const nameOf = (node: number, name: number): bigint => BigInt(node * 2 + name);

interface Node {
  readonly up: number | null;
  readonly tokens: number[];
  readonly sequence: bigint;
}

/** Node 0 starts a prompt; the children of node n are 2n + 1 and 2n + 2. */
function treeOfBlocks(count: number): Node[] {
  const nodes: Node[] = [];
  for (let i = 0; i < count; i++) {
    const up = i === 0 ? null : Math.floor((i - 1) / 2);
    const tokens = [i, i + 1, i + 2, i + 3];
    const parent = up === null ? null : (nodes[up]?.sequence ?? null);
    const { sequenceHashes } = hashChain(Uint32Array.from(tokens), 4, { ...plain, parent });
    nodes.push({ up, tokens, sequence: sequenceHashes[0] ?? 0n });
  }
  return nodes;
}

/** What an index would hold: tier and sequence hash → local hash. */
function apply(index: Map<string, bigint>, changes: readonly KvChange[]): void {
  for (const { change } of changes) {
    if (change.case === 'removed')
      for (const hash of unpackHashes(change.value.sequenceHashes))
        expect(index.delete(`${change.value.tier}/${hash}`)).to.equal(true);
    if (change.case !== 'stored') continue;
    const locals = unpackHashes(change.value.localHashes);
    let before = change.value.parentSequenceHash ?? null;
    unpackHashes(change.value.sequenceHashes).forEach((hash, i) => {
      const chained = before === null ? locals[i] : undefined;
      if (chained !== undefined) expect(hash).to.equal(chained);
      index.set(`${change.value.tier}/${hash}`, locals[i] ?? 0n);
      before = hash;
    });
  }
}
