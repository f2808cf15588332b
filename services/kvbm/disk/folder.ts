import { randomInt } from 'node:crypto';
import path from 'node:path';
import type { LayoutSpec } from '../layout.ts';
import { fingerprintOf, slotBytesOf } from '../layout.ts';
import type { SlotFileSystem } from './files.ts';

/** What a folder of slots says of itself. */
export interface Manifest {
  /** Life of the folder's records: those of another are none of its own. */
  readonly epoch: number;
  readonly layout: LayoutSpec;
  /** Bytes of a file at most: decides where a slot is. */
  readonly segmentBytes: number;
}

const name = 'layout.json';

/** The folder's manifest, made anew with everything else removed where there is none, or one of another shape. */
export async function openManifest(
  files: SlotFileSystem,
  folder: string,
  layout: LayoutSpec,
  segmentBytes: number,
): Promise<Manifest> {
  await files.makeFolder(folder);
  const known = await readManifest(files, folder);
  if (known !== undefined && fingerprintOf(known.layout) === fingerprintOf(layout)) return known;
  await files.remove(folder);
  await files.makeFolder(folder);
  const { format, blockBytes, blockTokens, dtype } = layout;
  const manifest: Manifest = {
    epoch: randomInt(1, 2 ** 32),
    layout: { format, blockBytes, blockTokens, dtype },
    segmentBytes,
  };
  await files.writeText(path.join(folder, name), JSON.stringify({ version: 1, ...manifest }));
  return manifest;
}

/** Undefined where the folder holds none that can be read. */
export async function readManifest(files: SlotFileSystem, folder: string): Promise<Manifest | undefined> {
  const text = await files.readText(path.join(folder, name));
  if (text === undefined) return undefined;
  try {
    const { version, ...manifest } = JSON.parse(text) as Manifest & { readonly version: unknown };
    const numbers = [manifest.epoch, manifest.segmentBytes, slotBytesOf(manifest.layout.blockBytes)];
    return version === 1 && numbers.every(Number.isSafeInteger) ? manifest : undefined;
  } catch {
    return undefined;
  }
}
