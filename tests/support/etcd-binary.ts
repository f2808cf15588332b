import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';

/** Folder of the tools that tests obtain for themselves: `${XDG_CACHE_HOME:-~/.cache}/stator/tools`. */
export function toolsDirectory(): string {
  const cache = process.env['XDG_CACHE_HOME'] || path.join(homedir(), '.cache');
  return path.join(cache, 'stator', 'tools');
}

/** Where an etcd that was obtained for the tests lies. */
export function cachedEtcd(): string {
  return path.join(toolsDirectory(), 'bin', 'etcd');
}

/** Path of an etcd: STATOR_TEST_ETCD, then PATH, then the cache; undefined when there is none. */
export async function findEtcd(): Promise<string | undefined> {
  const onPath = (process.env['PATH'] ?? '').split(path.delimiter).map((folder) => path.join(folder, 'etcd'));
  for (const candidate of [process.env['STATOR_TEST_ETCD'] ?? '', ...onPath, cachedEtcd()]) {
    if (path.isAbsolute(candidate) && (await isExecutable(candidate))) return candidate;
  }
  return undefined;
}

async function isExecutable(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Why tests with etcd are skipped on a machine that has none. */
export const NO_ETCD = 'no etcd on this machine: `node scripts/run.cjs scripts/etcd.ts` obtains one';
