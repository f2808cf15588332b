import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';

/** What the cache knows about a file, kept beside it. */
export interface CacheEntry {
  /** For example hf:org/repo:file. */
  readonly source: string;
  readonly bytes: number;
  readonly sha256: string;
}

export interface CachedModel extends CacheEntry {
  readonly path: string;
}

const NOTE = '.source.json';

/** The entry of a complete file, or undefined if it is absent, cut or unknown. */
export async function readEntry(path: string): Promise<CacheEntry | undefined> {
  try {
    const entry = JSON.parse(await readFile(path + NOTE, 'utf8')) as CacheEntry;
    return (await stat(path)).size === entry.bytes ? entry : undefined;
  } catch {
    return undefined;
  }
}

export async function writeEntry(path: string, entry: CacheEntry): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const draft = `${path}${NOTE}.${process.pid}`;
  await writeFile(draft, `${JSON.stringify(entry, null, 2)}\n`);
  await rename(draft, path + NOTE);
}

/** Everything that is complete, by path. */
export async function listCached(directory: string): Promise<CachedModel[]> {
  const names = await readdir(directory, { recursive: true }).catch(() => []);
  const models: CachedModel[] = [];
  for (const name of names.filter((each) => each.endsWith(NOTE)).sort()) {
    const path = join(directory, name.slice(0, -NOTE.length));
    const entry = await readEntry(path);
    if (entry !== undefined) models.push({ path, ...entry });
  }
  return models;
}

/** Removes a file, what is known about it, and what an interrupted download left; then folders that are empty. */
export async function removeCached(directory: string, path: string): Promise<void> {
  for (const suffix of ['', NOTE, '.part', '.part.etag', '.lock']) await rm(path + suffix, { force: true });
  for (let folder = dirname(path); relative(directory, folder) !== ''; folder = dirname(folder)) {
    if (relative(directory, folder).startsWith('..') || (await readdir(folder)).length > 0) return;
    await rm(folder, { recursive: true });
  }
}
