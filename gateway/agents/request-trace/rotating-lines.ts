import { closeSync, openSync } from 'node:fs';
import { type FileHandle, open, rename, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Logger } from 'pino';
import { StatorError } from '#lib/errors/errors.ts';

export interface RotatingLinesOptions {
  /** One that ends in .gz is packed. */
  readonly file: string;
  /** Lines that wait at most; more are lost. */
  readonly maxWaiting: number;
  /** Bytes, as they are on the disk, after which the file is put aside under the next number. */
  readonly maxBytes: number;
  /** Files that are kept, the current one included. */
  readonly maxFiles: number;
  readonly onLost: (why: 'queue_full' | 'write_failed', lines: number) => void;
  readonly log: Logger;
}

const packed = promisify(gzip);

/** Lines that are written to a file beside everything else: a slow or broken disk costs lines, never requests. */
export class RotatingLines {
  readonly #o: RotatingLinesOptions;
  #waiting: string[] = [];
  #file: FileHandle | null = null;
  #bytes = 0;
  #writing: Promise<void> | null = null;
  #hasFailed = false;
  #closed = false;

  /** Throws `invalid_argument` for a file that cannot be written. */
  constructor(options: RotatingLinesOptions) {
    this.#o = options;
    try {
      closeSync(openSync(options.file, 'a', 0o600));
    } catch (cause) {
      const message = `The request trace ${options.file} cannot be written: ${String(cause)}`;
      throw StatorError.invalid('requestTrace', message, { cause });
    }
  }

  push(line: string): void {
    if (this.#closed || this.#waiting.length >= this.#o.maxWaiting) {
      this.#o.onLost('queue_full', 1);
      return;
    }
    this.#waiting.push(line);
    this.#writing ??= this.#write();
  }

  /** Writes what waits and closes the file. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#writing;
    await this.#file?.close().catch(() => {});
    this.#file = null;
  }

  async #write(): Promise<void> {
    // What comes in the same turn of the event loop is written together.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const lines = this.#waiting;
      this.#waiting = [];
      try {
        await this.#append(lines);
        this.#hasFailed = false;
      } catch (thrown) {
        this.#failed(lines.length, thrown);
      }
    }
    this.#writing = null;
  }

  async #append(lines: readonly string[]): Promise<void> {
    const text = Buffer.from(`${lines.join('\n')}\n`);
    // A packed file is several packed pieces, one after the other.
    const bytes = this.#o.file.endsWith('.gz') ? await packed(text) : text;
    if (this.#bytes > 0 && this.#bytes + bytes.length > this.#o.maxBytes) await this.#rotate();
    const file = this.#file ?? (await this.#open());
    await file.appendFile(bytes);
    this.#bytes += bytes.length;
  }

  async #open(): Promise<FileHandle> {
    const file = await open(this.#o.file, 'a', 0o600);
    this.#file = file;
    this.#bytes = (await file.stat()).size;
    return file;
  }

  async #rotate(): Promise<void> {
    const { file, maxFiles } = this.#o;
    await this.#file?.close();
    this.#file = null;
    const placeOf = (age: number): string => (age === 0 ? file : agedName(file, age));
    for (let age = Math.max(1, maxFiles - 1); age > 0; age--) {
      const from = placeOf(age - 1);
      if ((await stat(from).catch(() => null)) !== null) await rename(from, placeOf(age));
    }
    this.#bytes = 0;
  }

  /** It may be written again later: the disk was full, the folder was away. */
  #failed(lines: number, thrown: unknown): void {
    this.#o.onLost('write_failed', lines);
    if (!this.#hasFailed) this.#o.log.error({ err: thrown, file: this.#o.file }, 'the request trace is not written');
    this.#hasFailed = true;
    void this.#file?.close().catch(() => {});
    this.#file = null;
  }
}

/** trace.jsonl → trace.1.jsonl: the end of a name says how the file is read. */
function agedName(file: string, age: number): string {
  return file.replace(/((\.jsonl)?(\.gz)?)$/, (end) => (end === '' ? `.${age}` : `.${age}${end}`));
}
