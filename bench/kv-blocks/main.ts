// What the block manager's decisions cost, without any bytes being moved: nanoseconds per block under each eviction policy in
// a tier that is full, and memory per block. The anchor of each line is the same under LRU.
import { type BenchOptions, type BenchReport, type BenchRow, benchRow, median } from '#bench/report.ts';
import { BlockManager } from '#core/blocks/block-manager.ts';
import type { BlockChain } from '#core/blocks/chain.ts';
import { lineage } from '#core/blocks/eviction/lineage.ts';
import { lru } from '#core/blocks/eviction/lru.ts';
import { multiLru } from '#core/blocks/eviction/multi-lru.ts';
import type { EvictionPolicyFactory } from '#core/blocks/eviction/policy.ts';
import { tiers } from '#core/blocks/tiers.ts';

const policies: readonly (readonly [name: string, factory: EvictionPolicyFactory])[] = [
  ['lru', lru],
  ['multi-lru', multiLru()],
  ['lineage', lineage],
];

/** Blocks of one prompt. */
const promptBlocks = 64;
/** Most bytes of memory per block of a full tier. */
const bytesTarget = 192;

interface Costs {
  readonly store: number;
  readonly match: number;
  readonly pin: number;
  readonly bytes: number;
}

export function run({ quick }: BenchOptions): Promise<BenchReport> {
  const blocks = quick ? 2 ** 16 : 2 ** 20;
  const rounds = quick ? 1 : 3;
  const costs = new Map(policies.map(([name]) => [name, [] as Costs[]]));
  for (let round = 0; round < rounds; round++)
    for (const [name, factory] of policies) costs.get(name)?.push(measure(factory, blocks));
  return Promise.resolve({ bench: 'kv-blocks', rows: policies.flatMap(([name]) => rowsOf(name, costs)) });
}

function rowsOf(name: string, costs: ReadonlyMap<string, readonly Costs[]>): BenchRow[] {
  const of = (policy: string, what: keyof Costs): number => median((costs.get(policy) ?? []).map((one) => one[what]));
  const row = (line: string, what: keyof Costs, unit: string): BenchRow =>
    benchRow({
      line: `${name}, ${line}`,
      unit,
      ours: of(name, what),
      anchor: of('lru', what),
      ...(what === 'bytes' && { target: bytesTarget }),
    });
  return [
    row('store with eviction', 'store', 'ns/block'),
    row('match', 'match', 'ns/block'),
    row('pin and release', 'pin', 'ns/block'),
    row('memory', 'bytes', 'bytes/block'),
  ];
}

function measure(eviction: EvictionPolicyFactory, blocks: number): Costs {
  const arena = [{ blockBytes: 1, blocks, eviction, epoch: 1 }];
  const manager = new BlockManager({ tiers: [arena, [], []], eventLimit: 1 });
  const namespace = manager.namespace({ digest: '0'.repeat(32), model: 'm', tenant: 't', arena: 0 });
  const worker = manager.attach();
  const prompts = blocks / promptBlocks;
  const store = (prompt: number): void => {
    const reservation = manager.reserve(worker, tiers.host, chainOf(namespace, prompt));
    manager.commit(worker, { ...reservation, checksums: new Uint32Array(2 * reservation.slots.length) });
  };
  for (let prompt = 0; prompt < prompts; prompt++) store(prompt);
  const stored = perBlock(prompts, (prompt) => store(prompts + prompt));
  const matched = perBlock(prompts, (prompt) => {
    manager.match(namespace, chainOf(namespace, prompts + prompt).digests);
  });
  const wanted = Array.from({ length: promptBlocks }, (_, block) => block);
  const pinned = perBlock(prompts, (prompt) => {
    const { digests } = chainOf(namespace, prompts + prompt);
    manager.release(worker, manager.pin(worker, tiers.host, namespace, digests, wanted).id);
  });
  return { store: stored, match: matched, pin: pinned, bytes: manager.bytes / blocks };
}

function perBlock(prompts: number, one: (prompt: number) => void): number {
  const start = process.hrtime.bigint();
  for (let prompt = 0; prompt < prompts; prompt++) one(prompt);
  return Number(process.hrtime.bigint() - start) / (prompts * promptBlocks);
}

function chainOf(namespace: number, prompt: number): BlockChain {
  const digests = new Uint32Array(4 * promptBlocks);
  const sequenceHashes = new BigUint64Array(promptBlocks);
  for (let block = 0; block < promptBlocks; block++) {
    digests[4 * block] = Math.imul(prompt * promptBlocks + block, 0x9e3779b1) >>> 0;
    digests[4 * block + 1] = prompt;
    digests[4 * block + 2] = block;
    sequenceHashes[block] = (BigInt(prompt) << 32n) | BigInt(block);
  }
  return { namespace, startBlock: 0, parent: null, digests, sequenceHashes };
}
