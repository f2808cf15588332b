import type { StatorError } from '#lib/errors/errors.ts';
import type { AnswerPlan } from '../api/translate/job.ts';
import { renderStreamError } from '../http/error-body.ts';
import type { Choice } from '../pipeline/choice.ts';
import type { Generation } from '../pipeline/generation.ts';
import type { FlushQueue } from '../sse/flush-queue.ts';
import { escapeJson, isAscii, isPlainAscii } from '../sse/json-escape.ts';
import { renderAnnotations } from './annotations.ts';
import { ChunkFormat, doneEvent } from './chunk-format.ts';
import { renderEchoedLogprobs } from './logprobs.ts';
import { endFields, tokenFields, withFields } from './nvext.ts';
import { type EventSink, StreamedAnswer } from './streamed-answer.ts';
import { renderUsage, usageOf } from './usage.ts';

/** Streams the choices of a request in chunks, as OpenAI does. */
export class SseAnswer extends StreamedAnswer {
  readonly #plan: AnswerPlan;
  readonly #format: ChunkFormat;
  /** Whether an event is one byte a character where its delta is. */
  readonly #ascii: boolean;
  /** Whether chunks may carry an `nvext`. */
  readonly #extended: boolean;
  #opened = new Set<Choice>();
  #closed = new Set<Choice>();

  constructor(plan: AnswerPlan, sink: EventSink, queue: FlushQueue) {
    super(sink, queue, ': keep-alive\n\n');
    this.#plan = plan;
    this.#format = new ChunkFormat(plan);
    this.#extended = plan.extraFields.size > 0;
    // Any of these may bring a prompt's or a token's text along, whatever the output is.
    const othersText = plan.echo || plan.logprobs || this.#extended || plan.annotations.length > 0;
    this.#ascii = this.#format.plainAscii && !othersText;
  }

  protected override writeOutput(): void {
    if (this.generations.length === 0) return;
    let out = '';
    let ascii = this.#ascii;
    let done = true;
    for (const generation of this.generations) {
      done &&= generation.done;
      for (const choice of generation.choices) {
        const { text, finish } = choice;
        if (finish === null && !choice.hasOutput) continue;
        if (finish?.error) {
          this.fail(finish.error);
          return;
        }
        ascii &&= isPlainAscii(text);
        const chunks = this.#render(generation, choice);
        if (choice.parser !== null) ascii &&= isAscii(chunks);
        out += chunks;
      }
    }
    if (done) this.#end(out);
    else if (out !== '') this.sink.write(out, ascii);
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
    const endsAnswer = endsPrompt && this.generations.every(({ choices }) => choices.every(isClosed));
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
    return renderUsage(usageOf(this.generations));
  }

  protected override renderFailure(error: StatorError): string {
    return renderStreamError(error) + doneEvent;
  }

  #end(output: string): void {
    const usage = this.#plan.stream.includeUsage ? this.#format.usage(this.#usage()) : '';
    this.finish(output, usage + doneEvent);
  }
}
