import type { BlockChain } from '#core/blocks/chain.ts';
import { tiers } from '#core/blocks/tiers.ts';
import type { Layout } from '../layout.ts';
import type { BlockSource, TierParts } from '../tiers.ts';

/** Blocks in a row, all of them on disk. */
export interface DiskRun {
  readonly layout: Layout;
  readonly namespace: number;
  readonly digests: Uint32Array;
  readonly from: number;
  readonly end: number;
  readonly signal: AbortSignal;
  /** Called when blocks are in host memory, with indexes of `digests`; they must be pinned in the same turn. */
  readonly loaded: (from: number, count: number) => void;
}

const timeoutMs = 10_000;

/** Brings blocks on disk into host memory. What fails is not told: fewer blocks come. */
export async function fromDisk(parts: TierParts, disk: BlockSource, run: DiskRun): Promise<void> {
  const { layout, from, signal, loaded } = run;
  const chain = chainOnDisk(parts, run);
  if (chain === undefined) return;
  const count = chain.sequenceHashes.length;
  const request = {
    ...{ chain, layout, from: 0, count, signal, priority: 0 },
    deadlineMs: parts.nowMs() + timeoutMs,
    loaded: (first: number, blocks: number) => loaded(from + first, blocks),
  };
  await disk.load(request).catch((error: unknown) => {
    parts.log.debug({ err: error }, 'blocks on disk cannot be lent');
  });
}

/** The blocks with everything that is known of them; a peer names their digests only. Ends where they do not follow each other. */
function chainOnDisk({ manager }: TierParts, run: DiskRun): BlockChain | undefined {
  const { namespace, digests, from, end, layout } = run;
  const infoOf = (at: number) => {
    const slot = manager.slotOf(tiers.disk, namespace, digests, at);
    return slot < 0 ? undefined : manager.block(tiers.disk, layout.index, slot);
  };
  const first = infoOf(from);
  if (first === undefined) return undefined;
  const hashes: bigint[] = [];
  for (let at = from; at < end; at++) {
    const info = infoOf(at);
    const before = at === from ? undefined : digests.subarray(4 * at - 4, 4 * at);
    const follows =
      before === undefined || info?.parent?.digest.every((word, index) => word === before[index]) === true;
    if (info === undefined || !follows || info.position !== first.position + at - from) break;
    hashes.push(info.sequenceHash);
  }
  return {
    namespace,
    startBlock: first.position,
    parent: first.parent,
    digests: digests.subarray(4 * from, 4 * (from + hashes.length)),
    sequenceHashes: BigUint64Array.from(hashes),
  };
}
