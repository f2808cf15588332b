import type { StatorError } from '#lib/errors/errors.ts';
import type { Generation, GenerationObserver } from '../pipeline/generation.ts';
import type { Flushable, FlushQueue } from '../sse/flush-queue.ts';

/** How a streamed answer ended: `error` only if the client was told of one. */
export interface AnswerEnd {
  readonly error: StatorError | null;
}

/** Where an answer goes. */
export interface EventSink {
  /** Whether what comes next should wait until the answer is resumed. */
  readonly blocked: boolean;
  /** Whether a status can say no longer that the request failed. */
  readonly started: boolean;
  /** `ascii`: every character is one byte. */
  write(text: string, ascii: boolean): void;
  end(text: string): void;
  /** Nothing more will be written. */
  dispose(): void;
}

/**
 * The life of an answer as server-sent events, whatever they say. Output of one wake-up is written at once; while the client
 * does not read, output waits in the choices and no engine is slowed. The head is sent with the first output, so that an
 * engine's early refusal still becomes an HTTP status.
 */
export abstract class StreamedAnswer implements GenerationObserver, Flushable {
  readonly ended: Promise<AnswerEnd>;
  protected readonly sink: EventSink;
  protected generations: readonly Generation[] = [];
  readonly #queue: FlushQueue;
  readonly #keepAlive: string;
  #queued = false;
  #over = false;
  #resolve: (end: AnswerEnd) => void = () => {};

  /** `keepAlive`: what keeps proxies from closing a silent connection. */
  constructor(sink: EventSink, queue: FlushQueue, keepAlive: string) {
    this.sink = sink;
    this.#queue = queue;
    this.#keepAlive = keepAlive;
    this.ended = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  /** Names what is answered; output that came before is written now. */
  attach(generations: readonly Generation[]): void {
    this.generations = generations;
    this.#mark();
  }

  choiceChanged(): void {
    this.#mark();
  }

  /** The client reads again. */
  resume(): void {
    this.#mark();
  }

  keepAlive(): void {
    if (!this.#over && !this.sink.blocked) this.sink.write(this.#keepAlive, true);
  }

  /** Ends the answer without a word: the client is gone. */
  abandon(error: StatorError): void {
    this.#end({ error });
  }

  /** Ends a stream that has begun with an error event; false if the head is not sent, so that a status can say it. */
  failLate(error: StatorError): boolean {
    if (!this.sink.started || this.#over) return false;
    this.fail(error);
    return true;
  }

  flush(): void {
    this.#queued = false;
    if (!this.#over && !this.sink.blocked) this.writeOutput();
  }

  /** Writes what the choices have; ends the answer once they are done. */
  protected abstract writeOutput(): void;

  /** Events that end the stream with an error. */
  protected abstract renderFailure(error: StatorError): string;

  /** Before the head is sent an error is an HTTP status, which the caller writes; after it, an event. */
  protected fail(error: StatorError): void {
    if (this.#over) return;
    for (const generation of this.generations) generation.cancel();
    if (this.sink.started) this.sink.end(this.renderFailure(error));
    this.#end({ error });
  }

  /** Writes the last output and what follows it. The head travels with a write of its own. */
  protected finish(output: string, trailer = ''): void {
    if (this.#over) return;
    if (this.sink.started) this.sink.end(output + trailer);
    else {
      if (output !== '') this.sink.write(output, false);
      this.sink.end(trailer);
    }
    this.#end({ error: null });
  }

  #end(end: AnswerEnd): void {
    if (this.#over) return;
    this.#over = true;
    this.sink.dispose();
    this.#resolve(end);
  }

  #mark(): void {
    if (this.#queued || this.#over) return;
    this.#queued = true;
    this.#queue.push(this);
  }
}
