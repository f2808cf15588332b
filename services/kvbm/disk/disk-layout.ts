import path from 'node:path';
import type { Hash64 } from '#core/blocks/record/block-header.ts';
import { type Layout, slotBytesOf } from '../layout.ts';
import type { Sealing } from '../stored/sealing.ts';
import { alignedBytes, isPageAligned } from './aligned.ts';
import { DiskSlots } from './disk-slots.ts';
import type { SlotFileSystem } from './files.ts';
import { type Manifest, openManifest } from './folder.ts';
import { Segments } from './segments.ts';

export interface DiskOptions {
  readonly folder: string;
  /** Bytes for one layout. */
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
  /** Life of the records in it. */
  readonly epoch: number;
  readonly slots: number;
  /** Slots that may hold something of an earlier life. */
  readonly existing: number;
  readonly segments: Segments;
  readonly store: DiskSlots;
}

/** Undefined where not one block fits. */
export async function openDiskLayout(options: DiskOptions, layout: Layout): Promise<DiskLayout | undefined> {
  const slots = Math.floor(options.layoutBytes / layout.slotBytes);
  if (slots < 1) return undefined;
  const folder = path.join(options.folder, layout.fingerprint);
  const manifest = await openManifest(options.files, folder, layout, options.segmentBytes);
  return openSlots(options, folder, manifest, slots);
}

/** The slots of a folder, whoever made it: as many as there are unless it is said. */
export async function openSlots(
  options: DiskOptions,
  folder: string,
  { epoch, layout, segmentBytes }: Manifest,
  slots = Number.POSITIVE_INFINITY,
): Promise<DiskLayout> {
  const { files, preallocate, nowMs, sealing, hash, concurrency } = options;
  const slotBytes = slotBytesOf(layout.blockBytes);
  const memory = { allocate: alignedBytes, isAligned: isPageAligned };
  const segments = new Segments({ folder, slots, slotBytes, segmentBytes, files, preallocate, nowMs, ...memory });
  const existing = await segments.existing();
  const store = new DiskSlots({ segments, slots, slotBytes, sealing, hash, concurrency, ...memory });
  return { epoch, slots, existing, segments, store };
}
