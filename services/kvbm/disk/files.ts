import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';

/** An open file of slots. Buffers and positions are multiples of a page where it is direct. */
export interface SlotFile {
  /** Whether it bypasses the page cache. */
  readonly isDirect: boolean;
  /** Fills the buffers from a position. Rejects with code `EIO` where the file ends before. */
  read(buffers: readonly Uint8Array[], position: number): Promise<void>;
  write(buffers: readonly Uint8Array[], position: number): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

/** What the disk tier needs of a file system; tests put faults here. Rejects with the system's codes. */
export interface SlotFileSystem {
  makeFolder(path: string): Promise<void>;
  /** Names in a folder; none where it does not exist. */
  list(path: string): Promise<string[]>;
  open(path: string): Promise<SlotFile>;
  size(path: string): Promise<number>;
  /** Undefined where there is none. */
  readText(path: string): Promise<string | undefined>;
  /** Whole or not at all. */
  writeText(path: string, text: string): Promise<void>;
  remove(path: string): Promise<void>;
}

/** Direct files where the file system takes them (tmpfs and some network file systems do not), else buffered ones. */
export function nodeFiles(wantsDirect = true): SlotFileSystem {
  return {
    makeFolder: async (path) => void (await mkdir(path, { recursive: true, mode: 0o700 })),
    list: (path) => readdir(path).catch(ifMissing([])),
    open: async (path) => new NodeSlotFile(...(await openFile(path, wantsDirect))),
    size: async (path) => (await stat(path)).size,
    readText: (path) => readFile(path, 'utf8').catch(ifMissing(undefined)),
    writeText: async (path, text) => {
      await writeFile(`${path}.new`, text, { mode: 0o600, flush: true });
      await rename(`${path}.new`, path);
    },
    remove: (path) => rm(path, { recursive: true, force: true }),
  };
}

async function openFile(path: string, wantsDirect: boolean): Promise<[FileHandle, boolean]> {
  const flags = constants.O_RDWR | constants.O_CREAT;
  // Undefined where the system has no such thing (macOS).
  const direct: number | undefined = constants.O_DIRECT;
  if (!wantsDirect || direct === undefined) return [await open(path, flags, 0o600), false];
  try {
    return [await open(path, flags | direct, 0o600), true];
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'EINVAL') throw thrown;
    return [await open(path, flags, 0o600), false];
  }
}

class NodeSlotFile implements SlotFile {
  readonly isDirect: boolean;
  readonly #file: FileHandle;

  constructor(file: FileHandle, isDirect: boolean) {
    this.#file = file;
    this.isDirect = isDirect;
  }

  read(buffers: readonly Uint8Array[], position: number): Promise<void> {
    return transfer(buffers, position, async (rest, at) => (await this.#file.readv(rest, at)).bytesRead);
  }

  write(buffers: readonly Uint8Array[], position: number): Promise<void> {
    return transfer(buffers, position, async (rest, at) => (await this.#file.writev(rest, at)).bytesWritten);
  }

  async size(): Promise<number> {
    return (await this.#file.stat()).size;
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** The system may do part of what is asked. */
async function transfer(
  buffers: readonly Uint8Array[],
  position: number,
  step: (rest: Uint8Array[], at: number) => Promise<number>,
): Promise<void> {
  let rest = [...buffers];
  let at = position;
  while (rest.length > 0) {
    const moved = await step(rest, at);
    if (moved === 0) throw Object.assign(new Error('the file ends within a slot'), { code: 'EIO' });
    at += moved;
    rest = without(rest, moved);
  }
}

function without(buffers: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let gone = bytes;
  return buffers.flatMap((buffer) => {
    const cut = Math.min(gone, buffer.length);
    gone -= cut;
    return cut === buffer.length ? [] : [buffer.subarray(cut)];
  });
}

function ifMissing<T>(instead: T): (error: NodeJS.ErrnoException) => T {
  return (error) => {
    if (error.code === 'ENOENT') return instead;
    throw error;
  };
}
