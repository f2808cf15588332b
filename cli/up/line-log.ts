import { createWriteStream, type WriteStream } from 'node:fs';

const MAX_FILE_BYTES = 16 * 1024 * 1024;
const MAX_LINE = 8192;
const KEPT_LINES = 30;

/** Splits what a process writes into lines; keeps the last ones in memory and all, up to a bound, in a file. */
export class LineLog {
  readonly file: string;
  readonly #onLine: (line: string) => void;
  readonly #stream: WriteStream;
  readonly #last: string[] = [];
  #rest = '';
  #written = 0;

  constructor(file: string, onLine: (line: string) => void) {
    this.file = file;
    this.#onLine = onLine;
    this.#stream = createWriteStream(file, { flags: 'a', mode: 0o600 });
    // A full disk must not end the process that supervises.
    this.#stream.on('error', () => {});
  }

  push(chunk: string): void {
    const lines = (this.#rest + chunk).split('\n');
    this.#rest = (lines.pop() ?? '').slice(-MAX_LINE);
    for (const line of lines) this.#take(line.slice(0, MAX_LINE));
  }

  /** The last lines, for a crash report. */
  get tail(): readonly string[] {
    return this.#rest === '' ? this.#last : [...this.#last, this.#rest];
  }

  close(): void {
    this.#stream.end();
  }

  #take(line: string): void {
    if (line.trim() === '') return;
    this.#last.push(line);
    if (this.#last.length > KEPT_LINES) this.#last.shift();
    if (this.#written < MAX_FILE_BYTES) this.#written += line.length + 1;
    if (this.#written < MAX_FILE_BYTES) this.#stream.write(`${line}\n`);
    this.#onLine(line);
  }
}
