import type { Writable } from 'node:stream';
import type { HttpResponse } from './default-http.ts';

export interface SlowReaderOptions {
  /** Milliseconds in which a client that makes us wait must read at least `minBytes`, or all that is left. */
  readonly timeoutMs: number;
  readonly minBytes?: number;
  /** An answer was given up. */
  readonly onCut: () => void;
}

interface Waiting {
  /** Bytes that wait for the client, at the time below; null: it keeps up. */
  pending: number | null;
  since: number;
}

const looksPerTimeout = 4;

/**
 * Cuts answers whose clients do not read them, over HTTP/1.1 and HTTP/2. A connection that lives proves nothing: with
 * HTTP/2 a client may answer every ping and leave one stream's window shut for ever. What is looked at is each answer's own
 * buffer, at intervals, so that quick answers cost an entry in a map.
 */
export class SlowReaders {
  readonly #options: SlowReaderOptions;
  readonly #answers = new Map<HttpResponse, Waiting>();
  readonly #timer: NodeJS.Timeout;

  constructor(options: SlowReaderOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#look(), Math.max(1, options.timeoutMs / looksPerTimeout));
    this.#timer.unref();
  }

  track(res: HttpResponse): void {
    const waiting: Waiting = { pending: null, since: 0 };
    this.#answers.set(res, waiting);
    res.on('drain', () => {
      waiting.pending = null;
    });
    res.once('close', () => this.#answers.delete(res));
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const { timeoutMs, minBytes = 256 * Math.ceil(timeoutMs / 1000) } = this.#options;
    const now = performance.now();
    for (const [res, waiting] of this.#answers) {
      const pending = pendingOf(res);
      const before = waiting.pending;
      if (pending === null || before === null || before - pending >= Math.min(minBytes, before)) {
        waiting.pending = pending;
        waiting.since = now;
        continue;
      }
      if (now - waiting.since < timeoutMs) continue;
      this.#answers.delete(res);
      this.#options.onCut();
      res.destroy();
    }
  }
}

/** Bytes that the client keeps waiting; null where nobody waits for it. */
function pendingOf(res: HttpResponse): number | null {
  // What HTTP/2's compatibility API tells of its buffer is the stream's to tell.
  const out: Pick<Writable, 'writableLength' | 'writableNeedDrain' | 'writableEnded' | 'writableFinished'> =
    'stream' in res ? res.stream : res;
  const waits = out.writableNeedDrain || (out.writableEnded && !out.writableFinished);
  return waits && out.writableLength > 0 ? out.writableLength : null;
}
