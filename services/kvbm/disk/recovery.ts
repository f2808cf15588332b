import type { BlockHeader } from '#core/blocks/record/block-header.ts';
import { tiers } from '#core/blocks/tiers.ts';
import type { Layout } from '../layout.ts';
import { adoptBlock } from '../records.ts';
import type { TierParts } from '../tiers.ts';
import type { DiskLayout } from './disk-layout.ts';

export interface Recovered {
  readonly adopted: number;
  /** How many slots were not taken over, by reason. */
  readonly rejected: ReadonlyMap<string, number>;
}

interface Found {
  readonly slot: number;
  readonly writtenMs: number;
  readonly header: BlockHeader;
}

/** Blocks adopted in one turn of the event loop. */
const turnBlocks = 512;

/**
 * Reads the records of every slot that may hold one and lets the manager adopt what verifies, the oldest first. Bytes are
 * not read: every read of a block compares them. A slot whose record cannot be read is free.
 */
export async function recoverSlots(
  parts: TierParts,
  layout: Layout,
  disk: DiskLayout,
  progress: (read: number) => void,
): Promise<Recovered> {
  const rejected = new Map<string, number>();
  const reject = (reason: string): void => void rejected.set(reason, (rejected.get(reason) ?? 0) + 1);
  const found: Found[] = [];
  let next = 0;
  const read = async (): Promise<void> => {
    for (let slot = next++; slot < disk.existing && !parts.stopping.aborted; slot = next++) {
      const decoded = await disk.store.readPage(slot).catch(() => ({ rejection: 'unreadable', page: undefined }));
      progress(slot + 1);
      if (decoded.page === undefined) reject(decoded.rejection);
      else if (decoded.page.header.epoch !== disk.epoch) reject('wrong_epoch');
      else found.push({ slot, writtenMs: decoded.page.writtenMs, header: decoded.page.header });
    }
  };
  await Promise.all(Array.from({ length: 8 }, read));
  found.sort((a, b) => a.writtenMs - b.writtenMs || a.header.position - b.header.position);
  let adopted = 0;
  for (const [at, { slot, header }] of found.entries()) {
    if (at % turnBlocks === turnBlocks - 1) await new Promise<void>((resolve) => setImmediate(resolve));
    const outcome = adoptBlock(parts.manager, parts.namespaces, layout, tiers.disk, { slot, header });
    if (outcome === 'adopted') adopted++;
    else reject(outcome);
  }
  return { adopted, rejected };
}
