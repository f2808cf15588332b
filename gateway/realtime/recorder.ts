import { newId } from '../api/responses/ids.ts';
import { usageOf } from '../output/usage.ts';
import type { AnswerPart } from '../parsing/parts.ts';
import type { Generation } from '../pipeline/generation.ts';
import type { CallItem, Conversation, Item, MessageItem } from './conversation.ts';
import { type Dialect, shownItem } from './dialect.ts';
import type { Wishes } from './wishes.ts';

export type Send = (type: string, fields: Readonly<Record<string, unknown>>) => void;

/** How a response ended, in the protocol's words. */
export interface ResponseEnd {
  readonly status: 'completed' | 'incomplete' | 'cancelled' | 'failed';
  readonly details: object | null;
}

export interface RecorderOptions {
  readonly id: string;
  readonly dialect: Dialect;
  readonly send: Send;
  /** Null: the response belongs to no conversation. */
  readonly conversation: Conversation | null;
  readonly wishes: Wishes;
  readonly metadata: Readonly<Record<string, string>> | null;
}

/** Tells of a response while it is made, and puts its items into the conversation. */
export class ResponseRecorder {
  readonly #o: RecorderOptions;
  readonly #output: Item[] = [];
  #open: MessageItem | CallItem | null = null;
  /** Reasoning that is being told; empty: none. */
  #reasoning = '';

  constructor(o: RecorderOptions) {
    this.#o = o;
  }

  begin(): void {
    this.#o.send('response.created', { response: this.#shown('in_progress', null, null) });
  }

  part(part: AnswerPart): void {
    if (part.kind === 'reasoning') this.#reason(part.text);
    else this.#endReasoning();
    if (part.kind === 'content') this.#content(part.text);
    else if (part.kind === 'call') this.#call(part.id, part.name, part.arguments);
    else if (part.kind === 'arguments') this.#arguments(part.arguments);
    else if (part.kind === 'callEnd') this.#close(part.complete ? 'completed' : 'incomplete');
  }

  end({ status, details }: ResponseEnd, generation: Generation | null): void {
    this.#endReasoning();
    this.#close(status === 'completed' ? 'completed' : 'incomplete');
    const usage = generation === null ? null : usageFields(generation);
    this.#o.send('response.done', { response: this.#shown(status, details, usage) });
  }

  /** The protocol has no place for reasoning: who wants it gets events of our own, and items stay as they would be. */
  #reason(text: string): void {
    const { send, id, wishes } = this.#o;
    if (!wishes.showReasoning) return;
    this.#reasoning += text;
    send('stator.reasoning.delta', { response_id: id, delta: text });
  }

  #endReasoning(): void {
    if (this.#reasoning === '') return;
    const text = this.#reasoning;
    this.#reasoning = '';
    this.#o.send('stator.reasoning.done', { response_id: this.#o.id, text });
  }

  #content(text: string): void {
    const { send, dialect } = this.#o;
    let item = this.#open;
    if (item?.type !== 'message') {
      const opened: MessageItem = { ...head(), type: 'message', role: 'assistant', content: [] };
      this.#add(opened);
      opened.content.push({ type: 'output_text', text: '' });
      send('response.content_part.added', {
        ...this.#place(opened),
        content_index: 0,
        part: { type: 'text', text: '' },
      });
      item = opened;
    }
    const [part] = item.content;
    if (part !== undefined && 'text' in part) part.text += text;
    send(dialect.textDelta, { ...this.#place(item), content_index: 0, delta: text });
  }

  #call(callId: string, name: string, json: string): void {
    this.#add({ ...head(), type: 'function_call', call_id: callId, name, arguments: '' });
    this.#arguments(json);
  }

  #arguments(json: string): void {
    const item = this.#open;
    if (item?.type !== 'function_call' || json === '') return;
    item.arguments += json;
    const fields = { ...this.#place(item), call_id: item.call_id, delta: json };
    this.#o.send('response.function_call_arguments.delta', fields);
  }

  /** Begins an item behind those that are there. */
  #add(item: MessageItem | CallItem): void {
    this.#close('completed');
    const { send, dialect, conversation, id } = this.#o;
    const previous = conversation?.lastId ?? null;
    this.#open = item;
    this.#output.push(item);
    const shown = shownItem(item, dialect);
    send('response.output_item.added', { response_id: id, output_index: this.#output.length - 1, item: shown });
    if (conversation === null) return;
    conversation.append(item);
    send(dialect.itemAdded, { previous_item_id: previous, item: shown });
  }

  #close(status: 'completed' | 'incomplete'): void {
    const item = this.#open;
    if (item === null) return;
    this.#open = null;
    item.status = status;
    const { send, dialect, conversation } = this.#o;
    const place = this.#place(item);
    if (item.type === 'message') {
      const [part] = item.content;
      const text = part !== undefined && 'text' in part ? part.text : '';
      send(dialect.textDone, { ...place, content_index: 0, text });
      send('response.content_part.done', { ...place, content_index: 0, part: { type: 'text', text } });
    } else {
      const { call_id, name, arguments: json } = item;
      send('response.function_call_arguments.done', { ...place, call_id, name, arguments: json });
    }
    const shown = shownItem(item, dialect);
    const { response_id, output_index } = place;
    send('response.output_item.done', { response_id, output_index, item: shown });
    conversation?.settle(item.id);
    if (conversation !== null && dialect.itemDone !== null)
      send(dialect.itemDone, { previous_item_id: previousOf(conversation, item.id), item: shown });
  }

  #place(item: Item): { response_id: string; item_id: string; output_index: number } {
    return { response_id: this.#o.id, item_id: item.id, output_index: this.#output.length - 1 };
  }

  #shown(status: string, details: object | null, usage: object | null): object {
    const { id, dialect, conversation, wishes, metadata } = this.#o;
    return {
      object: 'realtime.response',
      id,
      status,
      status_details: details,
      output: this.#output.map((item) => shownItem(item, dialect)),
      conversation_id: conversation?.id ?? null,
      ...dialect.response(wishes),
      usage,
      metadata,
    };
  }
}

function head(): { id: string; object: 'realtime.item'; status: 'in_progress' } {
  return { id: newId('item'), object: 'realtime.item', status: 'in_progress' };
}

function previousOf(conversation: Conversation, id: string): string | null {
  const { items } = conversation;
  return items[items.findIndex((item) => item.id === id) - 1]?.id ?? null;
}

function usageFields(generation: Generation): object {
  const { promptTokens, outputTokens, cachedTokens } = usageOf([generation]);
  return {
    total_tokens: promptTokens + outputTokens,
    input_tokens: promptTokens,
    output_tokens: outputTokens,
    input_token_details: { cached_tokens: cachedTokens, text_tokens: promptTokens, audio_tokens: 0, image_tokens: 0 },
    output_token_details: { text_tokens: outputTokens, audio_tokens: 0 },
  };
}
