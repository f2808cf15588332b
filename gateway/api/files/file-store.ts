import { StatorError } from '#lib/errors/errors.ts';
import type { Store } from '#lib/store/store.ts';
import { type PageAsked, storedPage } from '../page.ts';
import { tenantCollection } from '../tenant-collection.ts';
import { timeId } from '../time-id.ts';
import { type FileObject, fileObject } from './answers.ts';

const chunkBytes = 1024 ** 2;

export interface NewFile {
  readonly filename: string;
  readonly purpose: FileObject['purpose'];
  readonly createdUnix: number;
  readonly expiresUnix: number;
  /** Absent: a new one. An id that exists is written anew, with the same content if the same made it. */
  readonly id?: string;
}

type Content = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** Files of the tenant whose request is being answered: a description, and the content in pieces. */
export class FileStore {
  readonly #store: Store;
  readonly #files = tenantCollection('files');
  readonly #content = tenantCollection('file-content');

  constructor(store: Store) {
    this.#store = store;
  }

  /** The description is written last, so that there is no file without all of its content. */
  async create(file: NewFile, content: Content): Promise<FileObject> {
    const id = file.id ?? timeId('file-');
    const expiresUnixMs = file.expiresUnix * 1000;
    let bytes = 0;
    let number = 0;
    for await (const piece of pieces(content)) {
      await this.#store.put(this.#content, pieceKey(id, number), piece, { expiresUnixMs });
      bytes += piece.length;
      number += 1;
    }
    const { filename, purpose, createdUnix: created_at, expiresUnix: expires_at } = file;
    const object: FileObject = {
      id,
      object: 'file',
      bytes,
      created_at,
      expires_at,
      filename,
      purpose,
      status: 'processed',
    };
    await this.#store.put(this.#files, id, Buffer.from(JSON.stringify(object)), { expiresUnixMs });
    return object;
  }

  /** Throws `not_found`; `field` is what the caller calls the id. */
  async get(id: string, field = 'id'): Promise<FileObject> {
    const found = /^file-\w{1,100}$/.test(id) ? await this.#store.get(this.#files, id) : null;
    if (found === null) throw StatorError.notFound(`The file \`${id.slice(0, 128)}\` does not exist.`, { field });
    return fileOf(found.value);
  }

  async *read(id: string): AsyncGenerator<Uint8Array> {
    for (let number = 0; ; number++) {
      const piece = await this.#store.get(this.#content, pieceKey(id, number));
      if (piece === null) return;
      yield piece.value;
    }
  }

  async delete(id: string): Promise<void> {
    await this.get(id);
    await this.#store.delete(this.#files, id);
    await this.#store.deletePrefix(this.#content, `${id}/`);
  }

  async list(asked: PageAsked): Promise<{ items: readonly FileObject[]; hasMore: boolean }> {
    return storedPage(this.#store, this.#files, asked, fileOf);
  }
}

function fileOf(value: Uint8Array): FileObject {
  const parsed: unknown = JSON.parse(Buffer.from(value).toString('utf8'));
  return fileObject.parse(parsed);
}

function pieceKey(id: string, number: number): string {
  return `${id}/${number.toString().padStart(8, '0')}`;
}

/** The same bytes in pieces of one size, the last one excepted. */
async function* pieces(content: Content): AsyncGenerator<Uint8Array> {
  let held: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of content) {
    for (let from = 0; from < part.length; ) {
      const taken = part.subarray(from, from + chunkBytes - bytes);
      held.push(taken);
      bytes += taken.length;
      from += taken.length;
      if (bytes < chunkBytes) continue;
      yield Buffer.concat(held);
      held = [];
      bytes = 0;
    }
  }
  if (bytes > 0) yield Buffer.concat(held);
}
