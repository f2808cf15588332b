import { statfs } from 'node:fs/promises';
import path from 'node:path';
import { StatorError } from '#lib/errors/errors.ts';
import type { MemoryAddon } from './addon.ts';
import { MappedMemory } from './mapped-memory.ts';
import { cancelledBy, settled } from './settled.ts';

export interface SharedMemoryOptions {
  /** File to map; in a folder on tmpfs or hugetlbfs its bytes never touch a disk. */
  readonly path: string;
  /** Size in bytes. Required to create; else the file must have it, or 0: whatever the file has. */
  readonly bytes: number;
  /** Whether to make the file where it is missing. An existing one of the right size is opened as it is. */
  readonly create: boolean;
  readonly signal?: AbortSignal;
}

/** A file that several processes of one user map, to read and to write. */
export class SharedMemory extends MappedMemory {
  readonly path: string;
  /** Whether this call made the file; its bytes are zero then. */
  readonly created: boolean;
  /** Bytes of a page: 2 MiB or more in a folder of huge pages. */
  readonly pageBytes: number;

  /** Use `openSharedMemory`. */
  constructor(file: { path: string; created: boolean; pageBytes: number }, buffer: Buffer, addon: MemoryAddon) {
    super(buffer, addon);
    this.path = file.path;
    this.created = file.created;
    this.pageBytes = file.pageBytes;
  }
}

/**
 * Maps a file, shared, off the event loop. A new one has mode 0600, all of its memory, and no name before it is complete, so
 * that nothing is left of a process that dies over it. Rejects with `not_found`; `permission_denied` for a symbolic
 * link, a file of someone else or one that others may open; `conflict` for a file of another size or kind;
 * `overloaded` where there is not that much memory; `cancelled`.
 */
export async function openSharedMemory(options: SharedMemoryOptions, addon: MemoryAddon): Promise<SharedMemory> {
  const { path: file, bytes, create, signal } = options;
  if (!Number.isSafeInteger(bytes) || bytes < (create ? 1 : 0))
    throw StatorError.invalid('bytes', `The size of shared memory must be a whole number of bytes, not ${bytes}.`);
  const opened = await settled(addon.openShared(file, bytes, create), signal);
  if (opened.problem === 'canceled') throw cancelledBy(signal);
  if (opened.buffer === null) throw await explain(opened.problem, options);
  return new SharedMemory({ path: file, ...opened }, opened.buffer, addon);
}

async function explain(problem: string, { path: file, bytes }: SharedMemoryOptions): Promise<StatorError> {
  if (problem === 'missing') return StatorError.notFound(`There is no shared memory ${file}.`);
  if (problem === 'symlink') return new StatorError('permission_denied', `${file} is a symbolic link.`);
  if (problem === 'foreign') return new StatorError('permission_denied', `${file} belongs to another user.`);
  if (problem === 'mode') return new StatorError('permission_denied', `Others than the owner may open ${file}.`);
  if (problem === 'kind') return new StatorError('conflict', `${file} is no ordinary file.`);
  if (problem.startsWith('size '))
    return new StatorError('conflict', `${file} has ${problem.slice(5)} bytes, not ${bytes}.`);
  if (problem === 'full') {
    const free = await freeBytes(path.dirname(file));
    return new StatorError('overloaded', `${bytes} bytes of shared memory do not fit into ${file}: ${free} are free.`);
  }
  const [, step = '', number = ''] = problem.split(' ');
  const code = number === '13' || number === '1' ? 'permission_denied' : number === '2' ? 'not_found' : 'internal';
  return new StatorError(code, `Shared memory ${file} cannot be opened: ${step} gave error ${number}.`);
}

async function freeBytes(folder: string): Promise<string> {
  const system = await statfs(folder).catch(() => undefined);
  return system === undefined ? 'an unknown number' : String(system.bavail * system.bsize);
}
