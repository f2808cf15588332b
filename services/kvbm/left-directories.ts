import { closeSync, constants, lstatSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { basename, dirname, join } from 'node:path';
import type { HostLocks } from './host-locks.ts';
import { keeperName, removeOwn } from './slab-directory.ts';

/** Begins the names of default directories of this user's block managers. */
export function directoryPrefix(): string {
  return `stator-kvbm-${userInfo().uid}-`;
}

/**
 * Notes in the directory who started this process, or that nobody discards it. A block manager that is to discard its slabs and
 * was killed may be started again by the same process, and finds them then.
 */
export function noteKeeper(directory: string, discard: boolean): void {
  const file = join(directory, keeperName);
  const started = startOf(process.ppid);
  if (!discard) rmSync(file, { force: true });
  else if (started !== undefined) writeFileSync(file, `${process.ppid} ${started}\n`, { mode: 0o600 });
}

/**
 * Removes directories beside `own` of this user's block managers that were to discard them and were killed, once the process
 * that started them has ended too. Gives their paths. Others belong to somebody or wait for their next start.
 */
export function sweepDirectories(own: string, locks: HostLocks): string[] {
  const parent = dirname(own);
  const names = readdirSync(parent).filter((name) => name.startsWith(directoryPrefix()) && name !== basename(own));
  return names.map((name) => join(parent, name)).filter((directory) => removeLeft(directory, locks));
}

function removeLeft(directory: string, locks: HostLocks): boolean {
  let lock: number | undefined;
  try {
    const state = lstatSync(directory);
    if (!state.isDirectory() || state.uid !== userInfo().uid) return false;
    const [pid = '', started = ''] = readFileSync(join(directory, keeperName), 'utf8').trim().split(' ');
    if (started === '' || startOf(Number(pid)) === started) return false;
    lock = openSync(join(directory, 'lock'), constants.O_RDWR | constants.O_NOFOLLOW);
    // Kept while it is removed: whoever starts there meanwhile must wait for its end.
    if (!locks.own(lock)) return false;
    removeOwn(directory);
    return true;
  } catch {
    // None that is to be discarded, or gone by now.
    return false;
  } finally {
    if (lock !== undefined) closeSync(lock);
  }
}

/** When a process began, in ticks since the machine did: tells it from a later one of the same number. Undefined: there is none. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in parentheses may contain anything.
    return stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .at(19);
  } catch {
    return undefined;
  }
}
