import { StatorError } from '#lib/errors/errors.ts';
import type { AnswerPart } from '../parsing/parts.ts';
import type { Choice } from '../pipeline/choice.ts';
import type { Generation } from '../pipeline/generation.ts';
import type { FlushQueue } from '../sse/flush-queue.ts';
import { type EventSink, StreamedAnswer } from './streamed-answer.ts';

/** How one API writes an answer with one choice as events. Every text is whole server-sent events, or empty. */
export interface EventFormat {
  /** What keeps proxies from closing a silent connection. */
  readonly keepAlive: string;
  /** In front of the first part. */
  open(generation: Generation): string;
  part(part: AnswerPart): string;
  /** After the last part; what must be kept before the client knows of it is kept first. */
  close(generation: Generation, choice: Choice): string | Promise<string>;
  /** Instead of what would still have come. */
  fail(error: StatorError): string;
}

/** Streams the one choice of a request in the events of an API. */
export class EventAnswer extends StreamedAnswer {
  readonly #format: EventFormat;
  #opened = false;
  #closing = false;

  constructor(format: EventFormat, sink: EventSink, queue: FlushQueue) {
    super(sink, queue, format.keepAlive);
    this.#format = format;
  }

  protected override writeOutput(): void {
    const [generation] = this.generations;
    const choice = generation?.choices[0];
    if (generation === undefined || choice === undefined || this.#closing) return;
    const { finish } = choice;
    if (!choice.hasOutput && finish === null) return;
    if (finish?.error) {
      this.fail(finish.error);
      return;
    }
    let out = this.#opened ? '' : this.#format.open(generation);
    this.#opened = true;
    for (const part of choice.takeParts()) out += this.#format.part(part);
    if (finish === null) {
      if (out !== '') this.sink.write(out, false);
      return;
    }
    const last = this.#format.close(generation, choice);
    if (typeof last === 'string') this.finish(out + last);
    else this.#finishLater(out, last);
  }

  protected override renderFailure(error: StatorError): string {
    return this.#format.fail(error);
  }

  /** Nothing is left that another flush could write. */
  #finishLater(out: string, last: Promise<string>): void {
    if (out !== '') this.sink.write(out, false);
    this.#closing = true;
    last.then(
      (text) => this.finish(text),
      (thrown: unknown) => this.fail(StatorError.from(thrown)),
    );
  }
}
