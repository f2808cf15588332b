import { errorClasses } from '#lib/errors/codes.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { newId } from '../api/responses/ids.ts';
import type { HeaderWishes } from '../api/translate/header-wishes.ts';
import type { GatewayContext } from '../context.ts';
import { publicMessage } from '../http/error-body.ts';
import type { RequestFacts } from '../tenants/access.ts';
import type { Credentials } from '../tenants/tenants.ts';
import { Conversation, fullItem, type Item } from './conversation.ts';
import { type Dialect, shownItem } from './dialect.ts';
import type { Outgoing } from './outgoing.ts';
import { parseMessage, readEvent } from './read-event.ts';
import { makeResponse } from './response.ts';
import type { ClientEvent, ResponseWishes, SessionUpdate } from './schema.ts';
import { noWishes, type Wishes, withWishes } from './wishes.ts';

type EventOf<T extends ClientEvent['type']> = ClientEvent & { type: T };

export interface SessionOptions {
  readonly model: string;
  readonly dialect: Dialect;
  readonly credentials: Credentials;
  readonly facts: RequestFacts;
  readonly headers: HeaderWishes;
  readonly outgoing: Outgoing;
  /** Whether a model is there and may be used; throws StatorError. */
  readonly checkModel: (model: string) => Promise<void>;
  /** The number of running responses changed. */
  readonly onRunning: (responses: number) => void;
}

interface Running {
  readonly isDefault: boolean;
  readonly abort: AbortController;
}

/** One client's conversation: takes its events one after the other and makes the responses that it asks for. */
export class RealtimeSession {
  readonly #ctx: GatewayContext;
  readonly #o: SessionOptions;
  readonly #id = newId('sess');
  readonly #conversation: Conversation;
  readonly #responses = new Map<string, Running>();
  #model: string;
  #wishes: Wishes = noWishes;

  constructor(ctx: GatewayContext, o: SessionOptions) {
    this.#ctx = ctx;
    this.#o = o;
    this.#model = o.model;
    const { realtimeMaxItems, realtimeMaxConversationKib } = ctx.config;
    this.#conversation = new Conversation({ items: realtimeMaxItems, bytes: realtimeMaxConversationKib * 1024 });
  }

  /** Responses that are being made. */
  get running(): number {
    return this.#responses.size;
  }

  open(): void {
    this.#o.outgoing.send('session.created', { session: this.#shown() });
  }

  /** Takes one message. Never rejects: what is wrong with it is an event, and the session goes on. */
  async take(message: string): Promise<void> {
    let eventId: string | null = null;
    try {
      const fields = parseMessage(message);
      if (typeof fields['event_id'] === 'string') eventId = fields['event_id'].slice(0, 512);
      const event = readEvent(fields);
      this.#ctx.realtime.events.inc({ type: event.type });
      await this.#handle(event, eventId);
    } catch (thrown) {
      this.#fail(thrown, eventId);
    }
  }

  /** Says something that concerns no event of the client. */
  tell(error: StatorError): void {
    this.#fail(error, null);
  }

  /** The client is gone. */
  end(error: StatorError): void {
    for (const { abort } of this.#responses.values()) abort.abort(error);
  }

  async #handle(event: ClientEvent, eventId: string | null): Promise<void> {
    switch (event.type) {
      case 'session.update':
        return this.#update(event.session);
      case 'conversation.item.create':
        return this.#createItem(event);
      case 'conversation.item.retrieve': {
        const item = this.#conversation.get(event.item_id, 'item_id');
        return this.#o.outgoing.send('conversation.item.retrieved', { item: shownItem(item, this.#o.dialect) });
      }
      case 'conversation.item.delete':
        this.#conversation.delete(event.item_id, 'item_id');
        return this.#o.outgoing.send('conversation.item.deleted', { item_id: event.item_id });
      case 'response.create':
        return this.#createResponse(event.response ?? {}, eventId);
      case 'response.cancel':
        return this.#cancel(event.response_id ?? null);
    }
  }

  async #update(said: SessionUpdate): Promise<void> {
    const { model } = said;
    if (model && model !== this.#model) {
      if (this.running > 0)
        throw StatorError.invalid('session.model', 'The model cannot change while a response is being made');
      await this.#o.checkModel(model);
      this.#model = model;
    }
    this.#wishes = withWishes(this.#wishes, said);
    this.#o.outgoing.send('session.updated', { session: this.#shown() });
  }

  #createItem({ item, previous_item_id }: EventOf<'conversation.item.create'>): void {
    const full = fullItem(item);
    const previous = this.#conversation.insert(full, previous_item_id ?? null);
    const { outgoing, dialect } = this.#o;
    const fields = { previous_item_id: previous, item: shownItem(full, dialect) };
    outgoing.send(dialect.itemAdded, fields);
    if (dialect.itemDone !== null) outgoing.send(dialect.itemDone, fields);
  }

  /** Responses outside of the conversation are made beside each other; inside there is one at a time. */
  #createResponse(said: ResponseWishes, eventId: string | null): void {
    const isDefault = said.conversation !== 'none';
    this.#checkRoom(isDefault);
    const items = said.input ? this.#itemsOf(said.input) : this.#conversation.items;
    const wishes = withWishes(this.#wishes, said);
    const responseId = newId('resp');
    const running: Running = { isDefault, abort: new AbortController() };
    this.#responses.set(responseId, running);
    this.#o.onRunning(this.running);
    const { dialect, outgoing, credentials, headers } = this.#o;
    const made = makeResponse(this.#ctx, {
      asked: { model: this.#model, wishes, items, sessionId: this.#id, headers },
      recorder: {
        id: responseId,
        dialect,
        send: (type, fields) => outgoing.send(type, fields),
        conversation: isDefault ? this.#conversation : null,
        wishes,
        metadata: said.metadata ?? null,
      },
      credentials,
      facts: { ...this.#o.facts, requestId: responseId },
      outgoing,
      signal: running.abort.signal,
    });
    made
      .catch((thrown: unknown) => this.#fail(thrown, eventId))
      .finally(() => {
        this.#responses.delete(responseId);
        this.#o.onRunning(this.running);
      });
  }

  #checkRoom(isDefault: boolean): void {
    if (isDefault && [...this.#responses.values()].some((other) => other.isDefault)) {
      const message = 'The conversation has a response in progress: wait for its end, or cancel it';
      throw new StatorError('conflict', message, { facts: { reason: 'conversation_already_has_active_response' } });
    }
    const { realtimeResponses } = this.#ctx.config;
    if (this.running < realtimeResponses) return;
    throw new StatorError('overloaded', `This connection has ${realtimeResponses} responses in progress already`);
  }

  #itemsOf(input: NonNullable<ResponseWishes['input']>): readonly Item[] {
    return input.map((item, index) =>
      item.type === 'item_reference' ? this.#conversation.get(item.id, `response.input[${index}].id`) : fullItem(item),
    );
  }

  #cancel(id: string | null): void {
    const found =
      id === null ? [...this.#responses.values()].find(({ isDefault }) => isDefault) : this.#responses.get(id);
    if (found === undefined) {
      const message = id === null ? 'No response is in progress' : `The response \`${id}\` is not in progress`;
      throw StatorError.notFound(message, { field: 'response_id', facts: { reason: 'response_cancel_not_active' } });
    }
    found.abort.abort(new StatorError('cancelled', 'The client cancelled the response.'));
  }

  #shown(): object {
    return this.#o.dialect.session(this.#id, this.#model, this.#wishes);
  }

  #fail(thrown: unknown, eventId: string | null): void {
    const error = StatorError.from(thrown);
    const { log } = this.#ctx.telemetry;
    if (error.code === 'internal') log.error({ err: error, session: this.#id }, 'realtime event failed');
    this.#ctx.realtime.errors.inc({ code: error.code });
    const { reason } = error.facts ?? {};
    this.#o.outgoing.send('error', {
      error: {
        type: errorClasses[error.code].openai,
        code: typeof reason === 'string' ? reason : error.code,
        message: publicMessage(error),
        param: error.field === undefined || error.field === '' ? null : error.field,
        event_id: eventId,
      },
    });
  }
}
