import { errorClasses } from '#lib/errors/codes.ts';
import type { StatorError } from '#lib/errors/errors.ts';
import { publicMessage } from '../../http/error-body.ts';
import { usageOf } from '../../output/usage.ts';
import type { AnswerPart } from '../../parsing/parts.ts';
import type { Choice } from '../../pipeline/choice.ts';
import type { Generation } from '../../pipeline/generation.ts';
import type { OutputItem, ResponseObject } from './answers.ts';
import { outputItemId } from './ids.ts';
import { customInput } from './tools.ts';

type EventFields = Readonly<Record<string, unknown>>;
type Reasoning = OutputItem & { type: 'reasoning' };
type CustomCall = OutputItem & { type: 'custom_tool_call' };
type MessageOutput = OutputItem & { type: 'message' };

/** Builds a response from an answer's parts, and the events that tell of it. */
export class ResponseRecorder {
  readonly #response: ResponseObject;
  readonly #encrypted: boolean;
  /** Whether reasoning is told as its summary: clients that ask for one look nowhere else. */
  readonly #summarised: boolean;
  /** Tools that take text. */
  readonly #custom: ReadonlySet<unknown>;
  #item: OutputItem | null = null;
  /** Arguments of the call of such a tool so far: its text is a member of theirs. */
  #wrapped = '';
  #sequence: number;

  /**
   * `encrypted`: whether reasoning also comes in the form that clients keep for stateless use. `sequence`: number of the
   * next event, where some were told already.
   */
  constructor(response: ResponseObject, encrypted: boolean, sequence = 0) {
    this.#sequence = sequence;
    this.#response = { ...response, output: [...response.output] };
    this.#encrypted = encrypted;
    this.#summarised = response.reasoning.summary !== null;
    this.#custom = new Set(response.tools.filter(({ type }) => type === 'custom').map(({ name }) => name));
  }

  get response(): ResponseObject {
    return this.#response;
  }

  /** Whether nothing was told yet. */
  get isNew(): boolean {
    return this.#sequence === 0;
  }

  /** What is told of a response before anybody works on it. */
  queue(): string {
    return (
      this.#event('response.created', { response: this.#response }) +
      this.#event('response.queued', { response: this.#response })
    );
  }

  begin(): string {
    this.#response.status = 'in_progress';
    return (
      (this.isNew ? this.#event('response.created', { response: this.#response }) : '') +
      this.#event('response.in_progress', { response: this.#response })
    );
  }

  part(part: AnswerPart): string {
    switch (part.kind) {
      case 'content':
        return this.#content(part.text);
      case 'reasoning':
        return this.#thought(part.text);
      case 'call':
        return this.#endItem('completed') + this.#open(this.#newCall(part)) + this.#arguments(part.arguments);
      case 'arguments':
        return this.#arguments(part.arguments);
      case 'callEnd':
        return this.#endItem(part.complete ? 'completed' : 'incomplete');
    }
  }

  /** Ends the response with the answer. */
  end(generation: Generation, choice: Choice): string {
    const cut = choice.finishReason === 'length';
    const events = this.#endItem(cut ? 'incomplete' : 'completed');
    const { promptTokens, outputTokens, cachedTokens, reasoningTokens } = usageOf([generation]);
    const response = this.#response;
    response.status = cut ? 'incomplete' : 'completed';
    response.completed_at = Math.floor(Date.now() / 1000);
    response.incomplete_details = cut ? { reason: 'max_output_tokens' } : null;
    response.usage = {
      input_tokens: promptTokens,
      input_tokens_details: { cached_tokens: cachedTokens },
      output_tokens: outputTokens,
      output_tokens_details: { reasoning_tokens: reasoningTokens },
      total_tokens: promptTokens + outputTokens,
    };
    return events + this.#event(`response.${response.status}`, { response });
  }

  /** Ends the response with an error. */
  fail(error: StatorError): string {
    this.#item = null;
    failResponse(this.#response, error);
    return this.#event('response.failed', { response: this.#response });
  }

  #content(text: string): string {
    let out = '';
    let item = this.#item;
    if (item?.type !== 'message') {
      const opened: MessageOutput = {
        type: 'message',
        id: this.#newId('msg'),
        role: 'assistant',
        status: 'in_progress',
        content: [],
      };
      out = this.#endItem('completed') + this.#open(opened);
      opened.content.push({ type: 'output_text', text: '', annotations: [], logprobs: [] });
      out += this.#event('response.content_part.added', {
        ...this.#place(opened),
        content_index: 0,
        part: opened.content[0],
      });
      item = opened;
    }
    const [part] = item.content;
    if (part !== undefined) part.text += text;
    return (
      out +
      this.#event('response.output_text.delta', { ...this.#place(item), content_index: 0, delta: text, logprobs: [] })
    );
  }

  #thought(text: string): string {
    let out = '';
    let item = this.#item;
    if (item?.type !== 'reasoning') {
      const opened: Reasoning = {
        type: 'reasoning',
        id: this.#newId('rs'),
        summary: [],
        content: [],
        status: 'in_progress',
      };
      out = this.#endItem('completed') + this.#open(opened);
      out += this.#openThought(opened);
      item = opened;
    }
    const part = item.summary[0] ?? item.content[0];
    if (part !== undefined) part.text += text;
    const place = this.#place(item);
    if (!this.#summarised)
      return out + this.#event('response.reasoning_text.delta', { ...place, content_index: 0, delta: text });
    return out + this.#event('response.reasoning_summary_text.delta', { ...place, summary_index: 0, delta: text });
  }

  #openThought(item: Reasoning): string {
    if (!this.#summarised) {
      item.content.push({ type: 'reasoning_text', text: '' });
      return '';
    }
    const part = { type: 'summary_text', text: '' } as const;
    item.summary.push({ ...part });
    return this.#event('response.reasoning_summary_part.added', { ...this.#place(item), summary_index: 0, part });
  }

  #closeThought(item: Reasoning): string {
    const place = this.#place(item);
    const text = thoughtOf(item);
    if (!this.#summarised) return this.#event('response.reasoning_text.done', { ...place, content_index: 0, text });
    const done = { ...place, summary_index: 0 };
    return (
      this.#event('response.reasoning_summary_text.done', { ...done, text }) +
      this.#event('response.reasoning_summary_part.done', { ...done, part: item.summary[0] })
    );
  }

  #newCall({ id, name }: AnswerPart & { kind: 'call' }): OutputItem {
    const common = { call_id: id, name, status: 'in_progress' } as const;
    this.#wrapped = '';
    return this.#custom.has(name)
      ? { type: 'custom_tool_call', id: this.#newId('ctc'), input: '', ...common }
      : { type: 'function_call', id: this.#newId('fc'), arguments: '', ...common };
  }

  #closeCustom(item: CustomCall): string {
    const place = this.#place(item);
    item.input = customInput(this.#wrapped);
    return (
      this.#event('response.custom_tool_call_input.delta', { ...place, delta: item.input }) +
      this.#event('response.custom_tool_call_input.done', { ...place, input: item.input })
    );
  }

  #arguments(json: string): string {
    const item = this.#item;
    if (item?.type === 'custom_tool_call') this.#wrapped += json;
    if (item?.type !== 'function_call' || json === '') return '';
    item.arguments += json;
    return this.#event('response.function_call_arguments.delta', { ...this.#place(item), delta: json });
  }

  #newId(prefix: string): string {
    return outputItemId(prefix, this.#response.id, this.#response.output.length);
  }

  #open(item: OutputItem): string {
    this.#item = item;
    this.#response.output.push(item);
    return this.#event('response.output_item.added', { output_index: this.#response.output.length - 1, item });
  }

  #endItem(status: 'completed' | 'incomplete'): string {
    const item = this.#item;
    if (item === null) return '';
    this.#item = null;
    item.status = status;
    const out = this.#closing(item);
    if (item.type === 'reasoning' && this.#encrypted)
      item.encrypted_content = Buffer.from(thoughtOf(item)).toString('base64');
    return out + this.#event('response.output_item.done', { output_index: this.#response.output.length - 1, item });
  }

  /** What closes the parts of an item. */
  #closing(item: OutputItem): string {
    const place = this.#place(item);
    switch (item.type) {
      case 'message': {
        const [part] = item.content;
        const done = { ...place, content_index: 0 };
        return (
          this.#event('response.output_text.done', { ...done, text: part?.text ?? '', logprobs: [] }) +
          this.#event('response.content_part.done', { ...done, part })
        );
      }
      case 'reasoning':
        return this.#closeThought(item);
      case 'custom_tool_call':
        return this.#closeCustom(item);
      case 'function_call':
        return this.#event('response.function_call_arguments.done', {
          ...place,
          name: item.name,
          arguments: item.arguments,
        });
    }
  }

  #place(item: OutputItem): EventFields {
    return { item_id: item.id, output_index: this.#response.output.length - 1 };
  }

  #event(type: string, fields: EventFields): string {
    const data = { type, sequence_number: this.#sequence, ...fields };
    this.#sequence += 1;
    return `event: ${type}\ndata: ${JSON.stringify(data)}\n\n`;
  }
}

function thoughtOf({ summary, content }: Reasoning): string {
  return [...summary, ...content].map(({ text }) => text).join('');
}

/** Marks a response as ended by an error. */
export function failResponse(response: ResponseObject, error: StatorError): void {
  response.status = error.code === 'cancelled' ? 'cancelled' : 'failed';
  const code = errorClasses[error.code].http === 429 ? 'rate_limit_exceeded' : error.code;
  response.error = response.status === 'cancelled' ? null : { code, message: publicMessage(error) };
}
