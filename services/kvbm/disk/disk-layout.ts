import path from 'node:path';
import type { Hash64 } from '#core/blocks/record/block-header.ts';
import { type Layout, slotBytesOf } from '../layout.ts';
import type { Sealing } from '../stored/sealing.ts';
import { alignedBytes, isPageAligned } from './aligned.ts';
import { DiskSlots } from './disk-slots.ts';
import type { SlotFileSystem } from './files.ts';
import { type Manifest, makeFolder, otherFolders, readManifest } from './folder.ts';
import { Segments } from './segments.ts';

export interface DiskOptions {
  readonly folder: string;
  /** For all layouts. */
  readonly totalBytes: number;
  /** For one layout at most. */
  readonly layoutBytes: number;
  readonly segmentBytes: number;
  readonly concurrency: number;
  readonly files: SlotFileSystem;
  readonly preallocate: (path: string, bytes: number) => Promise<boolean>;
  readonly sealing: Sealing;
  readonly hash: Hash64;
  readonly nowMs: () => number;
}

/** A layout's slots on the disk. */
export interface DiskLayout {
  readonly folder: string;
  /** Life of the records in it. */
  readonly epoch: number;
  readonly slots: number;
  readonly bytes: number;
  /** Slots that may hold something of an earlier life. */
  readonly existing: number;
  readonly segments: Segments;
  readonly store: DiskSlots;
}

/**
 * Slots for a layout: those that it had in an earlier life, or all that is left. Folders of layouts that nobody opened in
 * this life make way where they leave too little. Undefined where not one block fits.
 */
export async function openDiskLayout(
  options: DiskOptions,
  layout: Layout,
  opened: readonly DiskLayout[],
): Promise<DiskLayout | undefined> {
  const { files, totalBytes, layoutBytes, segmentBytes } = options;
  const folder = path.join(options.folder, layout.fingerprint);
  const leftBytes = opened.reduce((left, disk) => left - disk.bytes, totalBytes);
  const known = await readManifest(files, folder);
  const others = await otherFolders(files, options.folder, new Set([folder, ...opened.map((disk) => disk.folder)]));
  const otherBytes = [...others.values()].reduce((sum, other) => sum + bytesOf(other), 0);
  const wantedBytes = Math.min(layoutBytes, known === undefined ? totalBytes / 4 : bytesOf(known));
  const makesWay = leftBytes - otherBytes < Math.min(wantedBytes, leftBytes);
  if (makesWay) for (const other of others.keys()) await files.remove(other);
  const roomBytes = Math.min(layoutBytes, makesWay ? leftBytes : leftBytes - otherBytes);
  const slots = Math.floor(Math.min(known === undefined ? roomBytes : bytesOf(known), roomBytes) / layout.slotBytes);
  if (slots < 1) return undefined;
  const manifest = known ?? (await makeFolder(files, folder, layout, { segmentBytes, slots }));
  return openSlots(options, folder, { ...manifest, slots });
}

function bytesOf({ slots, layout }: Manifest): number {
  return slots * slotBytesOf(layout.blockBytes);
}

/** The slots of a folder. */
export async function openSlots(
  options: DiskOptions,
  folder: string,
  { epoch, layout, segmentBytes, slots }: Manifest,
): Promise<DiskLayout> {
  const { files, preallocate, nowMs, sealing, hash, concurrency } = options;
  const slotBytes = slotBytesOf(layout.blockBytes);
  const memory = { allocate: alignedBytes, isAligned: isPageAligned };
  const segments = new Segments({ folder, slots, slotBytes, segmentBytes, files, preallocate, nowMs, ...memory });
  const existing = await segments.existing();
  const store = new DiskSlots({ segments, slotBytes, sealing, hash, concurrency, ...memory });
  return { folder, epoch, slots, bytes: slots * slotBytes, existing, segments, store };
}
