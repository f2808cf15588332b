import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import type { Hash64 } from '#core/blocks/record/block-header.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { HostLocks } from './host-locks.ts';
import { pageBytes } from './layout.ts';
import { decodeShape, epochOffset, type SlabShape } from './slab-shape.ts';

/** A slab of an earlier life. */
export interface FoundSlab {
  readonly path: string;
  readonly shape: SlabShape;
  readonly epoch: number;
  /** When it was made. */
  readonly changedMs: number;
}

const slabName = /^[0-9a-f]{32}\.slab$/;
/** A slab that had no name yet, on file systems where that needs a draft. */
const draftName = /^[0-9a-f]{32}\.slab\.[0-9a-f]{16}\.new$/;
const ownNames = /^(?:lock|epoch|keeper|namespaces\.json|writers\.json)(?:\.new)?$/;
/** Names the process whose end ends a directory that is to be discarded. */
export const keeperName = 'keeper';

/**
 * The directory of one block manager: slabs, the book of namespaces, who had the right to write, and the number of its
 * lives. One process at a time has it.
 */
export class SlabDirectory {
  readonly path: string;
  /** Grows with every life, and is never one that a slab carries already. */
  readonly epoch: number;
  readonly #lock: number;

  /** Throws StatorError `conflict` while another process has the directory, `permission_denied` when it is not ours alone. */
  constructor(path: string, locks: HostLocks, hash: Hash64) {
    this.path = path;
    this.#lock = lockDirectory(path, locks);
    for (const name of readdirSync(path)) if (draftName.test(name)) rmSync(join(path, name), { force: true });
    const lives = [readEpoch(this.epochFile), ...this.slabs(hash).map(({ epoch }) => epoch)];
    this.epoch = (Math.max(...lives) % (2 ** 32 - 1)) + 1;
    writeFileSync(`${this.epochFile}.new`, `${this.epoch}\n`, { mode: 0o600 });
    renameSync(`${this.epochFile}.new`, this.epochFile);
  }

  get epochFile(): string {
    return join(this.path, 'epoch');
  }

  get bookFile(): string {
    return join(this.path, 'namespaces.json');
  }

  /** Lock files of workers that may write into a slab. */
  get writersFile(): string {
    return join(this.path, 'writers.json');
  }

  slabFile(fingerprint: string): string {
    return join(this.path, `${fingerprint}.slab`);
  }

  /** Slabs that say what they are; files that are none by their name or first page are removed. */
  slabs(hash: Hash64): FoundSlab[] {
    return readdirSync(this.path).flatMap((name) => {
      if (!slabName.test(name)) return [];
      const path = join(this.path, name);
      const found = readSlab(path, hash);
      if (found === undefined) rmSync(path, { force: true });
      return found === undefined ? [] : [found];
    });
  }

  /** Gives the directory up; `discard`: what is ours in it is removed, and it too when nothing else is in it. */
  close(discard: boolean): void {
    if (discard) removeOwn(this.path);
    closeSync(this.#lock);
  }
}

/** Removes what block managers put into a directory, and it too when nothing else is in it. Only under its lock. */
export function removeOwn(path: string): void {
  const isOurs = (name: string): boolean => [slabName, draftName, ownNames].some((names) => names.test(name));
  for (const name of readdirSync(path)) if (isOurs(name)) rmSync(join(path, name), { force: true });
  if (readdirSync(path).length === 0) rmdirSync(path);
}

/** Makes the directory where it is missing, and takes its lock for the life of this process. */
function lockDirectory(path: string, locks: HostLocks): number {
  for (;;) {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    checkOwner(path);
    const file = join(path, 'lock');
    const fd = openSync(file, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    const isOurs = locks.own(fd);
    // Whoever had it before may have removed the directory at its end: the lock of a file without a name is worth nothing.
    if (isOurs && statSync(file, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino) return fd;
    closeSync(fd);
    if (!isOurs)
      throw new StatorError(
        'conflict',
        `Another block manager uses ${path}; give this one another --name or --slab-dir.`,
      );
  }
}

function checkOwner(path: string): void {
  const { uid } = userInfo();
  const state = lstatSync(path);
  if (state.isDirectory() && state.uid === uid && (state.mode & 0o077) === 0) return;
  throw new StatorError('permission_denied', `${path} must be a directory of user ${uid} that nobody else may open.`);
}

function readSlab(path: string, hash: Hash64): FoundSlab | undefined {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const page = Buffer.alloc(pageBytes);
    const { size, mtimeMs: changedMs } = fstatSync(fd);
    const shape = readSync(fd, page, 0, pageBytes, 0) === pageBytes ? decodeShape(page, hash) : undefined;
    return shape?.totalBytes === size ? { path, shape, epoch: page.readUInt32LE(epochOffset), changedMs } : undefined;
  } finally {
    closeSync(fd);
  }
}

function readEpoch(file: string): number {
  try {
    const epoch = Number.parseInt(readFileSync(file, 'utf8'), 10);
    return Number.isInteger(epoch) && epoch >= 0 && epoch < 2 ** 32 ? epoch : 0;
  } catch {
    return 0;
  }
}
