import { closeSync, constants, existsSync, openSync, readdirSync, unlinkSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { StatorError } from '#lib/errors/errors.ts';

/** Lifelong locks of processes, as native/hostmem takes them. */
export interface ProcessLocks {
  /** Takes the lock of an open file for as long as it is open; false while another has it. */
  own(fd: number): boolean;
  /** Whether some process has it. */
  alive(fd: number): boolean;
}

/** A file whose lock tells the block manager, beyond the end of any connection, that this process may still write. */
export class LockFile {
  readonly path: string;
  readonly #fd: number;
  #isOpen = true;

  /** `name`: unique among the lock files of this user's processes. */
  constructor(directory: string, name: string, locks: ProcessLocks) {
    this.path = path.join(directory, `${prefix()}${name}.lock`);
    this.#fd = openSync(
      this.path,
      constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
      0o600,
    );
    if (locks.own(this.#fd)) return;
    this.close();
    throw new StatorError('internal', `${this.path} is locked by another process`);
  }

  /** Only when nothing can write into the slab any more. Idempotent. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    unlinkSync(this.path);
    closeSync(this.#fd);
  }
}

/** Memory that all processes of this machine share, or the system's directory for what does not last. */
export function defaultLockDirectory(): string {
  return existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
}

/** Removes the files of this user's processes that have ended. */
export function sweepLockFiles(directory: string, locks: ProcessLocks): void {
  for (const name of readdirSync(directory)) {
    if (!name.startsWith(prefix()) || !name.endsWith('.lock')) continue;
    const file = path.join(directory, name);
    try {
      const fd = openSync(file, constants.O_RDWR | constants.O_NOFOLLOW);
      // One that was made just now and is not locked yet belongs to nobody who attached: its owner notices and tries again.
      if (!locks.alive(fd)) unlinkSync(file);
      closeSync(fd);
    } catch {
      // Its owner removed it meanwhile.
    }
  }
}

function prefix(): string {
  return `stator-worker-${userInfo().uid}-`;
}
