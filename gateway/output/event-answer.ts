import { StatorError } from '#lib/errors/errors.ts';
import type { AnswerPart } from '../parsing/parts.ts';
import type { Choice } from '../pipeline/choice.ts';
import type { Generation, GenerationObserver } from '../pipeline/generation.ts';
import type { Flushable, FlushQueue } from '../sse/flush-queue.ts';
import type { SseSocket } from '../sse/sse-socket.ts';
import type { AnswerEnd } from './sse-answer.ts';

/** How one API writes an answer with one choice as events. Every text is whole server-sent events, or empty. */
export interface EventFormat {
  /** Keeps proxies from closing a silent connection. */
  readonly keepAlive: string;
  /** In front of the first part. */
  open(generation: Generation): string;
  part(part: AnswerPart): string;
  /** After the last part; what must be kept before the client knows of it is kept first. */
  close(generation: Generation, choice: Choice): string | Promise<string>;
  /** Instead of what would still have come. */
  fail(error: StatorError): string;
}

/**
 * Streams the one choice of a request in the events of an API. Like SseAnswer it writes what one wake-up brought at once,
 * leaves output in the choice while the client does not read, and sends the head with the first output.
 */
export class EventAnswer implements GenerationObserver, Flushable {
  readonly ended: Promise<AnswerEnd>;
  readonly #format: EventFormat;
  readonly #socket: SseSocket;
  readonly #queue: FlushQueue;
  #generation: Generation | null = null;
  #opened = false;
  #queued = false;
  #over = false;
  #resolve: (end: AnswerEnd) => void = () => {};

  constructor(format: EventFormat, socket: SseSocket, queue: FlushQueue) {
    this.#format = format;
    this.#socket = socket;
    this.#queue = queue;
    this.ended = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  attach(generations: readonly Generation[]): void {
    this.#generation = generations[0] ?? null;
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
    if (!this.#over && !this.#socket.blocked) this.#socket.write(this.#format.keepAlive, true);
  }

  /** Ends the answer without a word: the client is gone. */
  abandon(error: StatorError): void {
    this.#end({ error });
  }

  /** Ends a stream that has begun with an error event; false if the head is not sent, so that a status can say it. */
  failLate(error: StatorError): boolean {
    if (!this.#socket.started || this.#over) return false;
    this.#fail(error);
    return true;
  }

  flush(): void {
    this.#queued = false;
    const generation = this.#generation;
    const choice = generation?.choices[0];
    if (this.#over || this.#socket.blocked || generation === null || choice === undefined) return;
    const { finish } = choice;
    if (!choice.hasOutput && finish === null) return;
    if (finish?.error) {
      this.#fail(finish.error);
      return;
    }
    let out = this.#opened ? '' : this.#format.open(generation);
    this.#opened = true;
    for (const part of choice.takeParts()) out += this.#format.part(part);
    if (finish === null) {
      if (out !== '') this.#socket.write(out, false);
      return;
    }
    const last = this.#format.close(generation, choice);
    if (typeof last === 'string') this.#finish(out + last);
    else this.#finishLater(out, last);
  }

  /** The head travels with a write of its own. */
  #finish(out: string): void {
    if (this.#over) return;
    if (this.#socket.started) this.#socket.end(out);
    else {
      this.#socket.write(out, false);
      this.#socket.end('');
    }
    this.#end({ error: null });
  }

  #finishLater(out: string, last: Promise<string>): void {
    if (out !== '') this.#socket.write(out, false);
    // Nothing is left that another flush could write.
    this.#generation = null;
    last.then(
      (text) => this.#finish(text),
      (thrown: unknown) => this.#over || this.#fail(StatorError.from(thrown)),
    );
  }

  /** Before the head is sent an error is an HTTP status, which the caller writes; after it, an event. */
  #fail(error: StatorError): void {
    this.#generation?.cancel();
    if (this.#socket.started) this.#socket.end(this.#format.fail(error));
    this.#end({ error });
  }

  #end(end: AnswerEnd): void {
    if (this.#over) return;
    this.#over = true;
    this.#socket.dispose();
    this.#resolve(end);
  }

  #mark(): void {
    if (this.#queued || this.#over) return;
    this.#queued = true;
    this.#queue.push(this);
  }
}
