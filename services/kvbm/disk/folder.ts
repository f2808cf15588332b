import { randomInt } from 'node:crypto';
import path from 'node:path';
import type { LayoutSpec } from '../layout.ts';
import { slotBytesOf } from '../layout.ts';
import type { SlotFileSystem } from './files.ts';

/** What a folder of slots says of itself. */
export interface Manifest {
  /** Life of the folder's records: those of another are none of its own. */
  readonly epoch: number;
  readonly layout: LayoutSpec;
  /** Bytes of a file at most: decides where a slot is. */
  readonly segmentBytes: number;
  readonly slots: number;
}

const name = 'layout.json';

/** Makes a folder anew, without whatever was in it. */
export async function makeFolder(
  files: SlotFileSystem,
  folder: string,
  { format, blockBytes, blockTokens, dtype }: LayoutSpec,
  place: Pick<Manifest, 'segmentBytes' | 'slots'>,
): Promise<Manifest> {
  await files.remove(folder);
  await files.makeFolder(folder);
  const manifest = { epoch: randomInt(1, 2 ** 32), layout: { format, blockBytes, blockTokens, dtype }, ...place };
  await files.writeText(path.join(folder, name), JSON.stringify({ version: 1, ...manifest }));
  return manifest;
}

/** Folders of layouts beside those that are named, with what they say of themselves. */
export async function otherFolders(
  files: SlotFileSystem,
  folder: string,
  known: ReadonlySet<string>,
): Promise<Map<string, Manifest>> {
  const found = new Map<string, Manifest>();
  for (const name of await files.list(folder)) {
    const inner = path.join(folder, name);
    const manifest = isLayoutFolder(name) && !known.has(inner) ? await readManifest(files, inner) : undefined;
    if (manifest !== undefined) found.set(inner, manifest);
  }
  return found;
}

function isLayoutFolder(name: string): boolean {
  return /^[0-9a-f]{32}$/.test(name);
}

/** Undefined where the folder holds none that can be read. */
export async function readManifest(files: SlotFileSystem, folder: string): Promise<Manifest | undefined> {
  const text = await files.readText(path.join(folder, name));
  if (text === undefined) return undefined;
  try {
    const { version, ...manifest } = JSON.parse(text) as Manifest & { readonly version: unknown };
    const numbers = [manifest.epoch, manifest.segmentBytes, manifest.slots, slotBytesOf(manifest.layout.blockBytes)];
    return version === 1 && numbers.every(Number.isSafeInteger) ? manifest : undefined;
  } catch {
    return undefined;
  }
}
