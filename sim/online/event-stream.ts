import { StatorError } from '#lib/errors/errors.ts';

/** Longest event that is read; more is a broken answer. */
const maxEventCharacters = 4 * 1024 * 1024;

/** Cuts server-sent events out of bytes as they come. */
export class EventStream {
  readonly #decoder = new TextDecoder();
  #rest = '';

  /** Data of the events that are complete with these bytes. Throws `backend_protocol` for an event without end. */
  take(bytes: Uint8Array): string[] {
    this.#rest += this.#decoder.decode(bytes, { stream: true });
    const found: string[] = [];
    let from = 0;
    for (;;) {
      const end = /\r?\n\r?\n/g;
      end.lastIndex = from;
      const match = end.exec(this.#rest);
      if (match === null) break;
      const data = dataOf(this.#rest.slice(from, match.index));
      if (data !== undefined) found.push(data);
      from = match.index + match[0].length;
    }
    this.#rest = this.#rest.slice(from);
    if (this.#rest.length > maxEventCharacters)
      throw new StatorError(
        'backend_protocol',
        `An event of the stream is longer than ${maxEventCharacters} characters.`,
      );
    return found;
  }
}

/** Undefined: a comment, or an event of another kind than data. */
function dataOf(event: string): string | undefined {
  const lines = event.split(/\r?\n/);
  if (lines.some((line) => line.startsWith('event:') && !/^event: ?(message|error)$/.test(line))) return undefined;
  const data = lines.filter((line) => line.startsWith('data:')).map((line) => line.slice(5).replace(/^ /, ''));
  return data.length === 0 ? undefined : data.join('\n');
}
