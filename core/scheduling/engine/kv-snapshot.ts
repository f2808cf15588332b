import type { BlockIdentity, BlockPool } from './block-pool.ts';
import type { KvChanges } from './engine-model.ts';
import type { KvCache } from './kv-cache.ts';
import { KvChangeLog } from './kv-change-log.ts';

/** Blocks in one part of a snapshot, roughly. */
const partBlocks = 2048;

/** Everything cached, tier by tier, in chains as long as they can be. The cache is read once, at the beginning. */
export function* snapshotOf(cache: KvCache): Generator<KvChanges> {
  const chains = [...chainsOf(cache.pool, 0)];
  for (const { tier, pool } of cache.tiers.pools()) chains.push(...chainsOf(pool, tier));
  const log = new KvChangeLog();
  for (const { tier, blocks } of chains) {
    for (const block of blocks) log.stored(tier, block);
    if (log.blocks < partBlocks) continue;
    log.stamp(0);
    yield log.take();
  }
  if (log.count > 0) yield log.take();
}

interface Chain {
  readonly tier: number;
  readonly blocks: BlockIdentity[];
}

/** Chains of blocks of a pool, each begun by a block whose parent is not there or has another child before it. */
function* chainsOf(pool: BlockPool, tier: number): Generator<Chain> {
  const blocks = pool.hashedBlocks();
  const children = new Map<number, number[]>();
  for (const block of blocks) {
    const { index, parentLow, parentHigh } = pool.identityOf(block);
    const parent = index === 0 ? -1 : pool.find(parentLow, parentHigh);
    const known = children.get(parent);
    if (known === undefined) children.set(parent, [block]);
    else known.push(block);
  }
  const seen = new Set<number>();
  for (const first of blocks) {
    const chain: Chain = { tier, blocks: [] };
    for (let block: number | undefined = first; block !== undefined && !seen.has(block); ) {
      seen.add(block);
      chain.blocks.push(pool.identityOf(block));
      block = children.get(block)?.find((child) => !seen.has(child));
    }
    if (chain.blocks.length > 0) yield chain;
  }
}
