import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { userInfo } from 'node:os';
import { StatorError } from '#lib/errors/errors.ts';

/** Lifelong locks of processes, as native/hostmem takes them. */
export interface HostLocks {
  /** Takes the lock of an open file for as long as this process lives; false while another has it. */
  own(fd: number): boolean;
  /** Whether some process has it. */
  alive(fd: number): boolean;
}

/** The lock file of a worker, opened to see whether its process lives. */
export class WriterLock {
  readonly path: string;
  /** Equal for equal files. */
  readonly key: string;
  readonly #fd: number;
  readonly #locks: HostLocks;

  /** Throws StatorError `invalid_argument` when it is no lock file of this user. */
  constructor(path: string, locks: HostLocks) {
    this.path = path;
    this.#locks = locks;
    this.#fd = openLock(path);
    const { dev, ino, uid } = fstatSync(this.#fd);
    this.key = `${dev}:${ino}`;
    if (fstatSync(this.#fd).isFile() && uid === userInfo().uid) return;
    closeSync(this.#fd);
    throw StatorError.invalid('lock_file', `${path} is no ordinary file of this user.`);
  }

  get isHeld(): boolean {
    return this.#locks.alive(this.#fd);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function openLock(path: string): number {
  if (!path.startsWith('/') || path.length > 4096) throw StatorError.invalid('lock_file', 'The path must be absolute.');
  try {
    return openSync(path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (cause) {
    throw StatorError.invalid('lock_file', `${path} cannot be opened: ${(cause as NodeJS.ErrnoException).code}.`, {
      cause,
    });
  }
}
