import { randomUUID } from 'node:crypto';
import { type FileHandle, link, mkdir, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Backend, BackendPut, Failure, OpenObject, Upload } from '../backend.ts';
import type { ByteRange, ListPage, ObjectInfo } from '../store.ts';
import { HEADER_BYTES, readHeader, writeHeader } from './header.ts';
import { fileOf, listFiles, listFolders } from './layout.ts';

/**
 * Objects as files of a directory that one or several processes share: a header of 4 KiB, then the content. An object appears
 * by rename or link, so that no reader sees half of it. Content is not flushed to the disk: a crash of the machine may lose it.
 */
export class DirectoryBackend implements Backend {
  readonly kind = 'directory';
  readonly description: string;
  readonly deleteBatch = 100;
  readonly #root: string;

  constructor(root: string) {
    this.#root = path.resolve(root);
    this.description = `file:${this.#root}`;
  }

  async put(key: string, body: Uint8Array, crc32: number, put: BackendPut, signal: AbortSignal): Promise<void> {
    const upload = await this.beginUpload(key, put, signal);
    try {
      await upload.part(1, body, crc32, signal);
      await upload.complete(crc32, signal);
    } catch (thrown) {
      await upload.abort(signal).catch(() => undefined);
      throw thrown;
    }
  }

  async beginUpload(key: string, put: BackendPut, signal: AbortSignal): Promise<Upload> {
    signal.throwIfAborted();
    const unfinished = path.join(this.#root, '#unfinished');
    await mkdir(unfinished, { recursive: true });
    const temporary = path.join(unfinished, randomUUID());
    return new FileUpload(await open(temporary, 'wx'), temporary, fileOf(this.#root, key), put);
  }

  async open(key: string, range: ByteRange | undefined, signal: AbortSignal): Promise<OpenObject> {
    signal.throwIfAborted();
    const file = await open(fileOf(this.#root, key), 'r');
    try {
      const info = await readHeader(file, key);
      const offset = range?.offset ?? 0;
      const length = Math.max(0, Math.min(range?.length ?? info.size, info.size - offset));
      return {
        info,
        length,
        readInto: (targets) => readAll(file, targets, HEADER_BYTES + offset, signal).finally(() => file.close()),
        discard: () => void file.close(),
      };
    } catch (thrown) {
      await file.close();
      throw thrown;
    }
  }

  async head(key: string, signal: AbortSignal): Promise<ObjectInfo> {
    const object = await this.open(key, undefined, signal);
    object.discard();
    return object.info;
  }

  async delete(keys: readonly string[], signal: AbortSignal): Promise<void> {
    for (const key of keys) {
      signal.throwIfAborted();
      await rm(fileOf(this.#root, key), { force: true });
    }
  }

  list(prefix: string, page: { cursor: string | undefined; limit: number }, signal: AbortSignal): Promise<ListPage> {
    return listFiles(this.#root, prefix, page, signal);
  }

  folders(prefix: string, limit: number, signal: AbortSignal): Promise<string[]> {
    signal.throwIfAborted();
    return listFolders(this.#root, prefix, limit);
  }

  async setExpiry(): Promise<void> {
    throw new NoExpiry();
  }

  classify(thrown: unknown): Failure {
    if (thrown instanceof NoExpiry)
      return { code: 'unimplemented', message: 'a directory expires nothing', transient: false, notApplied: true };
    const { code, message } = thrown as NodeJS.ErrnoException;
    const failure = (name: Failure['code'], transient = false): Failure => {
      return { code: name, message: code ?? message, transient, notApplied: false };
    };
    if (code === 'ENOENT') return failure('not_found');
    if (code === 'EEXIST') return failure('conflict');
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') return failure('permission_denied');
    return code === undefined ? failure('internal') : failure('storage_unavailable', code === 'EMFILE');
  }

  close(): void {}
}

class NoExpiry extends Error {}

class FileUpload implements Upload {
  readonly #file: FileHandle;
  readonly #temporary: string;
  readonly #final: string;
  readonly #put: BackendPut;
  readonly #sizes = new Map<number, number>();
  #partBytes = 0;

  constructor(file: FileHandle, temporary: string, final: string, put: BackendPut) {
    this.#file = file;
    this.#temporary = temporary;
    this.#final = final;
    this.#put = put;
  }

  /** All parts but the last are equally long and the first is sent first: its length places the others. */
  async part(number: number, body: Uint8Array, _crc32: number, signal: AbortSignal): Promise<void> {
    if (number === 1) this.#partBytes = body.length;
    this.#sizes.set(number, body.length);
    await writeAt(this.#file, body, HEADER_BYTES + (number - 1) * this.#partBytes, signal);
  }

  async complete(crc32: number, signal: AbortSignal): Promise<void> {
    const size = [...this.#sizes.values()].reduce((sum, bytes) => sum + bytes, 0);
    await writeHeader(this.#file, { size, crc32, metadata: this.#put.metadata });
    signal.throwIfAborted();
    await this.#file.close();
    await mkdir(path.dirname(this.#final), { recursive: true });
    if (!this.#put.ifNoneMatch) return rename(this.#temporary, this.#final);
    await link(this.#temporary, this.#final);
    await rm(this.#temporary);
  }

  async abort(): Promise<void> {
    await this.#file.close();
    await rm(this.#temporary, { force: true });
  }
}

/** Reads and writes of bounded size, so that a cancelled call ends soon. */
const PIECE_BYTES = 4 * 1024 * 1024;

async function readAll(
  file: FileHandle,
  targets: readonly Uint8Array[],
  position: number,
  signal: AbortSignal,
): Promise<void> {
  let at = position;
  for (const target of targets) {
    await readAt(file, target, at, signal);
    at += target.length;
  }
}

async function readAt(file: FileHandle, target: Uint8Array, position: number, signal: AbortSignal): Promise<void> {
  for (let at = 0; at < target.length; ) {
    signal.throwIfAborted();
    const { bytesRead } = await file.read(target, at, Math.min(PIECE_BYTES, target.length - at), position + at);
    if (bytesRead === 0) throw Object.assign(new Error('the file is shorter than its header says'), { code: 'EIO' });
    at += bytesRead;
  }
}

async function writeAt(file: FileHandle, body: Uint8Array, position: number, signal: AbortSignal): Promise<void> {
  for (let at = 0; at < body.length; ) {
    signal.throwIfAborted();
    const { bytesWritten } = await file.write(body, at, Math.min(PIECE_BYTES, body.length - at), position + at);
    at += bytesWritten;
  }
}
