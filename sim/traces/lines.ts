import { createReadStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { StatorError } from '#lib/errors/errors.ts';

export interface Line {
  /** From 1. */
  readonly number: number;
  readonly text: string;
}

const newline = 10;

/**
 * The lines of a file that are not blank; one that ends in .gz is unpacked. Holds one piece of the file and one line at a
 * time. Throws `not_found` and `invalid_argument` (a line longer than `maxLineBytes`, bytes that are no gzip).
 */
export async function* linesOf(path: string, maxLineBytes = 32 * 1024 * 1024): AsyncGenerator<Line> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  let number = 0;
  const file: Readable = createReadStream(path, { highWaterMark: 256 * 1024 });
  const pieces: Readable = path.endsWith('.gz') ? unpacked(file) : file;
  try {
    for await (const read of pieces) {
      const piece: Buffer = read;
      let from = 0;
      for (let to = piece.indexOf(newline); to >= 0; to = piece.indexOf(newline, from)) {
        rest.push(piece.subarray(from, to));
        const text = joined(rest);
        rest = [];
        restBytes = 0;
        from = to + 1;
        number++;
        if (text !== '') yield { number, text };
      }
      if (from === piece.length) continue;
      restBytes += piece.length - from;
      if (restBytes > maxLineBytes)
        throw StatorError.invalid('trace', `${path}, line ${number + 1}: longer than ${maxLineBytes} bytes.`);
      rest.push(piece.subarray(from));
    }
  } catch (thrown) {
    throw readingError(path, thrown);
  } finally {
    file.destroy();
  }
  const text = joined(rest);
  if (text !== '') yield { number: number + 1, text };
}

function joined(pieces: readonly Buffer[]): string {
  const [only] = pieces;
  return (pieces.length === 1 && only !== undefined ? only : Buffer.concat(pieces)).toString('utf8').trim();
}

function unpacked(file: Readable): Readable {
  const gunzip = createGunzip();
  file.on('error', (error) => gunzip.destroy(error));
  return file.pipe(gunzip);
}

function readingError(path: string, thrown: unknown): unknown {
  if (thrown instanceof StatorError || !(thrown instanceof Error)) return thrown;
  const code = 'code' in thrown ? thrown.code : undefined;
  if (code === 'ENOENT') return StatorError.notFound(`The trace ${path} does not exist.`, { field: 'trace' });
  return StatorError.invalid('trace', `The trace ${path} cannot be read: ${thrown.message}`, { cause: thrown });
}
