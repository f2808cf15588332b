import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import type { ListedObject, ListPage } from '../store.ts';
import { HEADER_BYTES } from './header.ts';

/** No key holds `#`, so that the key `a` (file `a#`) and the key `a/b` (folder `a`) live side by side. */
const SUFFIX = '#';

export function fileOf(root: string, key: string): string {
  return path.join(root, ...key.split('/')) + SUFFIX;
}

/** Keys after the cursor that begin with the prefix, in the order of their bytes. The cursor is the last key of a page. */
export async function listFiles(
  root: string,
  prefix: string,
  { cursor, limit }: { cursor: string | undefined; limit: number },
  signal: AbortSignal,
): Promise<ListPage> {
  const objects: ListedObject[] = [];
  for await (const key of keysOf(root, '', prefix, cursor ?? '')) {
    signal.throwIfAborted();
    const found = await stat(fileOf(root, key)).catch(() => undefined);
    if (found === undefined) continue;
    if (objects.length === limit) return { objects, cursor: objects.at(-1)?.key };
    objects.push({ key, size: Math.max(0, found.size - HEADER_BYTES), modifiedMs: found.mtimeMs });
  }
  return { objects, cursor: undefined };
}

/** Names of the folders right below a prefix that ends with a slash or is empty. A folder may be without objects. */
export async function listFolders(root: string, prefix: string, limit: number): Promise<string[]> {
  const names = await namesOf(path.join(root, prefix));
  return names
    .filter((name) => name.endsWith('/'))
    .map((name) => name.slice(0, -1))
    .slice(0, limit);
}

async function* keysOf(root: string, folder: string, prefix: string, after: string): AsyncGenerator<string> {
  for (const name of await namesOf(path.join(root, folder))) {
    const key = folder + name;
    if (!key.endsWith('/')) {
      if (key.startsWith(prefix) && key > after) yield key;
    } else if (mayHold(key, prefix, after)) {
      yield* keysOf(root, key, prefix, after);
    }
  }
}

/** Whether keys of a folder (its name ends with a slash) may begin with the prefix and come after the cursor. */
function mayHold(folder: string, prefix: string, after: string): boolean {
  if (!folder.startsWith(prefix) && !prefix.startsWith(folder)) return false;
  return after.startsWith(folder) || folder > after;
}

/** Objects as `name`, folders as `name/`, in the order in which their keys sort. */
async function namesOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const names = entries.flatMap((entry) => {
    if (entry.isDirectory()) return entry.name.startsWith(SUFFIX) ? [] : [`${entry.name}/`];
    return entry.name.endsWith(SUFFIX) ? [entry.name.slice(0, -SUFFIX.length)] : [];
  });
  return names.sort((a, b) => (a < b ? -1 : 1));
}
