import { existsSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheDirectory } from '#lib/config/directories.ts';

function runsDirectory(): string {
  return join(cacheDirectory(), 'run');
}

/** Folder of this run: discovery and the workers' logs. */
export function runDirectory(): string {
  return join(runsDirectory(), String(process.pid));
}

/** Makes the folder of this run anew, and removes those of runs that are over. */
export async function openRunDirectory(): Promise<void> {
  const names = await readdir(runsDirectory()).catch(() => []);
  const over = names.filter((name) => Number(name) === process.pid || !isAlive(Number(name)));
  // Workers that outlived their run end by themselves, and write until then.
  const all = { recursive: true, force: true, maxRetries: 10 } as const;
  await Promise.all(over.map((name) => rm(join(runsDirectory(), name), all)));
  await mkdir(runDirectory(), { recursive: true, mode: 0o700 });
}

/** Where the services of every `stator up` that runs now register. */
export async function discoveriesOfRuns(): Promise<string[]> {
  const names = await readdir(runsDirectory()).catch(() => []);
  const live = names.filter((name) => isAlive(Number(name))).map((name) => join(runsDirectory(), name, 'discovery'));
  return live.filter((folder) => existsSync(folder)).map((folder) => `file:${folder}`);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
