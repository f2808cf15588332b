import type { IncomingMessage } from 'node:http';
import type { Item } from './conversation.ts';
import { shownReasoning } from './schema.ts';
import type { Wishes } from './wishes.ts';

/** How the protocol names things: as it is now, or as in its beta. */
export interface Dialect {
  readonly textDelta: string;
  readonly textDone: string;
  /** Type of a part of text that the model wrote. */
  readonly textPart: 'output_text' | 'text';
  /** Events that tell that an item is there, and that it is whole; null: there is no such event. */
  readonly itemAdded: string;
  readonly itemDone: string | null;
  session(id: string, model: string, wishes: Wishes): object;
  /** What a response says of how it is made. */
  response(wishes: Wishes): object;
}

function included({ showReasoning }: Wishes): readonly string[] | null {
  return showReasoning ? [shownReasoning] : null;
}

const current: Dialect = {
  textDelta: 'response.output_text.delta',
  textDone: 'response.output_text.done',
  textPart: 'output_text',
  itemAdded: 'conversation.item.added',
  itemDone: 'conversation.item.done',
  session: (id, model, wishes) => ({
    type: 'realtime',
    object: 'realtime.session',
    id,
    model,
    output_modalities: ['text'],
    instructions: wishes.instructions,
    tools: wishes.tools,
    tool_choice: wishes.toolChoice,
    max_output_tokens: wishes.maxOutputTokens,
    ...(wishes.temperature === null ? {} : { temperature: wishes.temperature }),
    truncation: 'disabled',
    tracing: null,
    prompt: null,
    include: included(wishes),
  }),
  response: (wishes) => ({ output_modalities: ['text'], max_output_tokens: wishes.maxOutputTokens }),
};

const beta: Dialect = {
  textDelta: 'response.text.delta',
  textDone: 'response.text.done',
  textPart: 'text',
  itemAdded: 'conversation.item.created',
  itemDone: null,
  session: (id, model, wishes) => ({
    object: 'realtime.session',
    id,
    model,
    modalities: ['text'],
    instructions: wishes.instructions,
    tools: wishes.tools,
    tool_choice: wishes.toolChoice,
    temperature: wishes.temperature ?? 1,
    max_response_output_tokens: wishes.maxOutputTokens,
    turn_detection: null,
    input_audio_transcription: null,
    ...(wishes.showReasoning ? { include: included(wishes) } : {}),
  }),
  response: (wishes) => ({ modalities: ['text'], max_output_tokens: wishes.maxOutputTokens }),
};

/** What a client expects: it names the beta in a header or, from a page, among its subprotocols. */
export function dialectOf({ headers }: IncomingMessage): Dialect {
  const named = `${String(headers['openai-beta'] ?? '')},${headers['sec-websocket-protocol'] ?? ''}`;
  return /(^|[,\s])(realtime=v1|openai-beta\.realtime-v1)([,\s]|$)/.test(named) ? beta : current;
}

/** An item with its parts named as the client expects. */
export function shownItem(item: Item, { textPart }: Dialect): object {
  if (item.type !== 'message') return item;
  const content = item.content.map((part) =>
    part.type === 'text' || part.type === 'output_text' ? { ...part, type: textPart } : part,
  );
  return { ...item, content };
}
