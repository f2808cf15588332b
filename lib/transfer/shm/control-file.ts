import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { StatorError } from '#lib/errors/errors.ts';
import { SLOTS } from '../regions.ts';
import type { HostMemory } from './host-memory.ts';

const FOLDER = '/dev/shm';
const PREFIX = 'stator-transfer-';
const HEADER_BYTES = 64;
const SLOT_BYTES = 24;
const MAGIC = 0x31304d4854415453n;
const POLL_MS = 1;
/** Far longer than a process takes from making its file to locking it. */
const DRAFT_MS = 60_000;
const leftover = /^(stator-transfer-[0-9a-f]{16})(\.sock|\.new)?$/;

/**
 * Tells processes of the same user on this host what memory this one lends. The kernel drops its lock when this process
 * dies, so that a number of a process that is reused by another cannot deceive.
 */
export class ControlFile {
  readonly path: string;
  readonly #fd: number;
  readonly #memory: HostMemory;
  #closed = false;

  constructor(memory: HostMemory) {
    sweepControlFiles(FOLDER, memory);
    this.#memory = memory;
    this.path = path.join(FOLDER, `${PREFIX}${randomBytes(8).toString('hex')}`);
    const draft = `${this.path}.new`;
    this.#fd = openSync(draft, 'wx+', 0o600);
    const header = Buffer.alloc(HEADER_BYTES + SLOTS * SLOT_BYTES);
    header.writeBigUInt64LE(MAGIC, 0);
    header.writeBigUInt64LE(BigInt(process.pid), 8);
    writeSync(this.#fd, header, 0, header.length, 0);
    if (!memory.own(this.#fd)) throw new StatorError('internal', `${draft} is locked by another process.`);
    // Under its own name only once it is locked: others sweep away what nobody holds.
    renameSync(draft, this.path);
  }

  /** Where notifications are taken. */
  get socketPath(): string {
    return `${this.path}.sock`;
  }

  lend(slot: number, id: number, buffer: Uint8Array): void {
    const entry = Buffer.alloc(SLOT_BYTES);
    entry.writeBigUInt64LE(BigInt(id), 0);
    entry.writeBigUInt64LE(this.#memory.address(buffer), 8);
    entry.writeBigUInt64LE(BigInt(buffer.byteLength), 16);
    writeSync(this.#fd, entry, 0, SLOT_BYTES, HEADER_BYTES + slot * SLOT_BYTES);
  }

  /** Resolves when nobody can write any more. Rejects with `deadline_exceeded` where a writer is stopped. */
  async takeBack(slot: number, timeoutMs: number): Promise<void> {
    writeSync(this.#fd, Buffer.alloc(SLOT_BYTES), 0, SLOT_BYTES, HEADER_BYTES + slot * SLOT_BYTES);
    const deadlineMs = Date.now() + timeoutMs;
    while (!this.#memory.unwritten(this.#fd, slot)) {
      if (Date.now() >= deadlineMs)
        throw new StatorError('deadline_exceeded', 'A peer has been writing into the region for too long.');
      await sleep(POLL_MS);
    }
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    rmSync(this.path, { force: true });
    rmSync(this.socketPath, { force: true });
    closeSync(this.#fd);
  }
}

/** Checks that a control file out of metadata is one: a file of this user in the right place, whose owner lives. */
export function checkControlFile(file: string, memory: HostMemory): void {
  if (path.dirname(file) !== FOLDER || !/^stator-transfer-[0-9a-f]{16}$/.test(path.basename(file)))
    throw StatorError.invalid('agent_metadata', 'It names no control file.');
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDWR | constants.O_NOFOLLOW);
  } catch (cause) {
    throw new StatorError('worker_unavailable', 'The peer is gone or on another host.', { cause });
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.uid !== process.getuid?.())
      throw StatorError.invalid('agent_metadata', 'Its control file belongs to someone else.');
    if (!memory.alive(fd)) throw new StatorError('worker_unavailable', 'The peer is gone.');
  } finally {
    closeSync(fd);
  }
}

/** Removes what killed processes of this user left: files that nobody holds, sockets without a file, drafts of long ago. */
export function sweepControlFiles(folder: string, memory: Pick<HostMemory, 'alive'>): void {
  for (const name of readdirSync(folder)) {
    const [, id, kind] = leftover.exec(name) ?? [];
    if (id === undefined) continue;
    const file = path.join(folder, name);
    // A process makes its file before its socket, so that one whose file is gone belongs to nobody.
    if (kind === '.sock') removeWhere(file, () => !existsSync(path.join(folder, id)));
    else removeWhere(file, () => (kind === undefined || isOld(file)) && !isHeld(file, memory));
  }
}

function removeWhere(file: string, isLeft: () => boolean): void {
  try {
    if (!isLeft()) return;
    rmSync(file, { force: true });
    if (!file.endsWith('.sock')) rmSync(`${file}.sock`, { force: true });
  } catch {
    // Another user's, or gone by now.
  }
}

function isHeld(file: string, memory: Pick<HostMemory, 'alive'>): boolean {
  const fd = openSync(file, constants.O_RDWR | constants.O_NOFOLLOW);
  try {
    return memory.alive(fd);
  } finally {
    closeSync(fd);
  }
}

/** A draft has no lock for a moment, which may be now. */
function isOld(file: string): boolean {
  return Date.now() - lstatSync(file).mtimeMs > DRAFT_MS;
}
