import { closeSync, openSync } from 'node:fs';
import { type FileHandle, open, rename, stat } from 'node:fs/promises';
import type { Logger } from 'pino';
import { StatorError } from '#lib/errors/errors.ts';

export interface RotatingLinesOptions {
  readonly file: string;
  /** Lines that wait at most; more are lost. */
  readonly maxWaiting: number;
  /** Bytes after which the file is put aside as FILE.1. */
  readonly maxBytes: number;
  /** Files that are kept, the current one included. */
  readonly maxFiles: number;
  readonly onLost: (why: 'queue_full' | 'write_failed', lines: number) => void;
  readonly log: Logger;
}

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
    const text = `${lines.join('\n')}\n`;
    const bytes = Buffer.byteLength(text);
    if (this.#bytes > 0 && this.#bytes + bytes > this.#o.maxBytes) await this.#rotate();
    const file = this.#file ?? (await this.#open());
    await file.appendFile(text);
    this.#bytes += bytes;
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
    const placeOf = (age: number): string => (age === 0 ? file : `${file}.${age}`);
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
