import type { StatorError } from '#lib/errors/errors.ts';
import type { AnswerPlan } from '../api/translate/job.ts';
import { renderStreamError } from '../http/error-body.ts';
import type { Choice } from '../pipeline/choice.ts';
import type { Generation, GenerationObserver } from '../pipeline/generation.ts';
import type { Flushable, FlushQueue } from '../sse/flush-queue.ts';
import { escapeJson, isAscii, isPlainAscii } from '../sse/json-escape.ts';
import type { SseSocket } from '../sse/sse-socket.ts';
import { renderAnnotations } from './annotations.ts';
import { ChunkFormat, doneEvent } from './chunk-format.ts';
import { renderEchoedLogprobs } from './logprobs.ts';
import { endFields, tokenFields, withFields } from './nvext.ts';
import { renderUsage, usageOf } from './usage.ts';

/** How a streamed answer ended: `error` only if the client was told of one. */
export interface AnswerEnd {
  readonly error: StatorError | null;
}

/**
 * Streams the choices of a request as server-sent events. Output of one wake-up is written at once; while the client does
 * not read, output waits in the choices as text and no engine is slowed. The head is sent with the first output, so that
 * an engine's early refusal still becomes an HTTP status.
 */
export class SseAnswer implements GenerationObserver, Flushable {
  readonly ended: Promise<AnswerEnd>;
  readonly #plan: AnswerPlan;
  readonly #format: ChunkFormat;
  /** Whether an event is one byte a character where its delta is. */
  readonly #ascii: boolean;
  /** Whether chunks may carry an `nvext`. */
  readonly #extended: boolean;
  readonly #socket: SseSocket;
  readonly #queue: FlushQueue;
  #generations: readonly Generation[] = [];
  #opened = new Set<Choice>();
  #closed = new Set<Choice>();
  #queued = false;
  #over = false;
  #resolve: (end: AnswerEnd) => void = () => {};

  constructor(plan: AnswerPlan, socket: SseSocket, queue: FlushQueue) {
    this.#plan = plan;
    this.#format = new ChunkFormat(plan);
    this.#extended = plan.extraFields.size > 0;
    // Any of these may bring a prompt's or a token's text along, whatever the output is.
    const othersText = plan.echo || plan.logprobs || this.#extended || plan.annotations.length > 0;
    this.#ascii = this.#format.plainAscii && !othersText;
    this.#socket = socket;
    this.#queue = queue;
    this.ended = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  /** Names what is answered; output that came before is written now. */
  attach(generations: readonly Generation[]): void {
    this.#generations = generations;
    this.#mark();
  }

  choiceChanged(): void {
    this.#mark();
  }

  /** The client reads again. */
  resume(): void {
    this.#mark();
  }

  /** A comment that keeps proxies from closing a silent connection. */
  keepAlive(): void {
    if (!this.#over && !this.#socket.blocked) this.#socket.write(': keep-alive\n\n', true);
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
    if (this.#over || this.#socket.blocked || this.#generations.length === 0) return;
    let out = '';
    let ascii = this.#ascii;
    let done = true;
    for (const generation of this.#generations) {
      done &&= generation.done;
      for (const choice of generation.choices) {
        const { text, finish } = choice;
        if (finish === null && !choice.hasOutput) continue;
        if (finish?.error) {
          this.#fail(finish.error);
          return;
        }
        ascii &&= isPlainAscii(text);
        const chunks = this.#render(generation, choice);
        if (choice.parser !== null) ascii &&= isAscii(chunks);
        out += chunks;
      }
    }
    if (done) this.#finish(out);
    else if (out !== '') this.#socket.write(out, ascii);
  }

  #render(generation: Generation, choice: Choice): string {
    if (this.#closed.has(choice)) return '';
    let out = '';
    if (!this.#opened.has(choice)) out = this.#open(generation, choice);
    let from = choice.takenTokens;
    const delta = choice.parser === null ? this.#text(generation, choice) : this.#parts(generation, choice);
    if (delta !== '') {
      out += this.#extended ? withFields(delta, tokenFields(this.#plan, choice, from)) : delta;
      from = choice.takenTokens;
    }
    return choice.finish === null ? out : out + this.#finishChoice(generation, choice, from);
  }

  #text(generation: Generation, choice: Choice): string {
    if (!choice.hasOutput) return '';
    return this.#delta(generation, choice, escapeJson(choice.takeText()));
  }

  #parts(generation: Generation, choice: Choice): string {
    if (!choice.hasOutput) return '';
    const usage = this.#plan.stream.continuousUsage ? this.#usage() : null;
    const style = this.#plan.logprobs ? { tokens: generation.prompt.tokens, asIds: this.#plan.tokensAsIds } : null;
    return this.#format.parts(choice, { style, usage, always: this.#extended });
  }

  /** The last chunk of a choice; `from`: the first output token that no chunk has told of. */
  #finishChoice(generation: Generation, choice: Choice, from: number): string {
    this.#closed.add(choice);
    const usage = this.#plan.stream.continuousUsage ? this.#usage() : null;
    const chunk = this.#format.finish(choice, usage);
    if (!this.#extended) return chunk;
    const isClosed = (one: Choice): boolean => this.#closed.has(one);
    const endsPrompt = generation.choices.every(isClosed);
    const endsAnswer = endsPrompt && this.#generations.every(({ choices }) => choices.every(isClosed));
    const fields = tokenFields(this.#plan, choice, from);
    for (const [name, json] of endFields(this.#plan, generation, choice, { endsPrompt, endsAnswer }))
      fields.set(name, json);
    return withFields(chunk, fields);
  }

  #open(generation: Generation, choice: Choice): string {
    const opening = this.#annotations(generation) + this.#format.opening(choice.index);
    this.#opened.add(choice);
    if (!this.#plan.echo) return opening;
    const { prompt } = generation;
    const style = { tokens: prompt.tokens, asIds: this.#plan.tokensAsIds };
    const logprobs = this.#plan.logprobs ? renderEchoedLogprobs(prompt, [], style) : null;
    return opening + this.#format.echo(choice.index, escapeJson(prompt.text), logprobs);
  }

  #delta(generation: Generation, choice: Choice, escaped: string): string {
    const usage = this.#plan.stream.continuousUsage ? this.#usage() : null;
    if (this.#plan.logprobs) {
      const style = { tokens: generation.prompt.tokens, asIds: this.#plan.tokensAsIds };
      return this.#format.deltaWithLogprobs(choice, escaped, style, usage);
    }
    return usage === null
      ? this.#format.delta(choice.index, escaped)
      : this.#format.deltaWithUsage(choice.index, escaped, usage);
  }

  /** Events in front of the first choice of a prompt that has output. */
  #annotations({ choices, decision, request, prompt }: Generation): string {
    if (this.#plan.annotations.length === 0 || decision === null) return '';
    if (choices.some((choice) => this.#opened.has(choice))) return '';
    return renderAnnotations(this.#plan, request.requestId, prompt, { decision, costs: decision.costs });
  }

  #usage(): string {
    return renderUsage(usageOf(this.#generations));
  }

  /** Before the head is sent an error is an HTTP status, which the caller writes; after it, an event. */
  #fail(error: StatorError): void {
    for (const generation of this.#generations) generation.cancel();
    if (this.#socket.started) this.#socket.end(renderStreamError(error) + doneEvent);
    this.#end({ error });
  }

  #finish(out: string): void {
    const usage = this.#plan.stream.includeUsage ? this.#format.usage(this.#usage()) : '';
    // The head travels with a write of its own; what follows the last output goes with the end.
    const last = this.#socket.started ? out : '';
    if (!this.#socket.started && out !== '') this.#socket.write(out, false);
    this.#socket.end(last + usage + doneEvent);
    this.#end({ error: null });
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
