import { StatorError } from '#lib/errors/errors.ts';
import { newId } from '../api/responses/ids.ts';
import type { NewItem } from './schema.ts';

type ItemStatus = 'in_progress' | 'completed' | 'incomplete';

type Full<T extends NewItem> = Omit<T, 'id' | 'object' | 'status' | 'call_id'> & {
  readonly id: string;
  readonly object: 'realtime.item';
  status: ItemStatus;
};

export type MessageItem = Full<NewItem & { type: 'message' }>;
export type CallItem = Full<NewItem & { type: 'function_call' }> & { readonly call_id: string };
export type CallOutputItem = Full<NewItem & { type: 'function_call_output' }> & { readonly call_id: string };
/** An item as it is kept and shown. */
export type Item = MessageItem | CallItem | CallOutputItem;

export interface ConversationLimits {
  readonly items: number;
  readonly bytes: number;
}

const prefixes = { message: 'item', function_call: 'item', function_call_output: 'item' } as const;

/** An item in its full form, with an id. */
export function fullItem(item: NewItem): Item {
  const common = { id: item.id ?? newId(prefixes[item.type]), object: 'realtime.item', status: 'completed' } as const;
  if (item.type === 'message') return { ...item, ...common };
  if (item.type === 'function_call') return { ...item, ...common, call_id: item.call_id ?? newId('call') };
  return { ...item, ...common };
}

/** The items of a session, in their order, bounded in number and size. */
export class Conversation {
  readonly id = newId('conv');
  readonly #limits: ConversationLimits;
  readonly #items: { readonly item: Item; bytes: number }[] = [];
  #bytes = 0;

  constructor(limits: ConversationLimits) {
    this.#limits = limits;
  }

  get items(): readonly Item[] {
    return this.#items.map(({ item }) => item);
  }

  get lastId(): string | null {
    return this.#items.at(-1)?.item.id ?? null;
  }

  /** Puts a client's item behind another, `root` in front of all, null at the end. Returns the id of the one before it. */
  insert(item: Item, previousId: string | null): string | null {
    if (this.#find(item.id) !== null) throw StatorError.invalid('item.id', `The item \`${item.id}\` exists already`);
    const bytes = sizeOf(item);
    if (this.#items.length >= this.#limits.items) {
      const message = `The conversation has ${this.#limits.items} items already; delete some`;
      throw new StatorError('payload_too_large', message, { field: 'item', facts: { limit: this.#limits.items } });
    }
    if (this.#bytes + bytes > this.#limits.bytes) {
      const message = `The items of the conversation would take more than ${this.#limits.bytes} bytes; delete some`;
      throw new StatorError('payload_too_large', message, { field: 'item', facts: { limitBytes: this.#limits.bytes } });
    }
    const at =
      previousId === null
        ? this.#items.length
        : previousId === 'root'
          ? 0
          : this.#at(previousId, 'previous_item_id') + 1;
    this.#items.splice(at, 0, { item, bytes });
    this.#bytes += bytes;
    return this.#items[at - 1]?.item.id ?? null;
  }

  /** Puts what the model began at the end. It is measured when it has ended; the model's own limits bound it. */
  append(item: Item): void {
    this.#items.push({ item, bytes: 0 });
  }

  /** What the model began has ended. */
  settle(id: string): void {
    const found = this.#items.find(({ item }) => item.id === id);
    if (found === undefined) return;
    this.#bytes -= found.bytes;
    found.bytes = sizeOf(found.item);
    this.#bytes += found.bytes;
  }

  /** Throws `not_found` naming the field. */
  get(id: string, field: string): Item {
    const item = this.#find(id);
    if (item !== null) return item;
    throw noItem(id, field);
  }

  delete(id: string, field: string): void {
    const [deleted] = this.#items.splice(this.#at(id, field), 1);
    this.#bytes -= deleted?.bytes ?? 0;
  }

  #find(id: string): Item | null {
    return this.#items.find(({ item }) => item.id === id)?.item ?? null;
  }

  #at(id: string, field: string): number {
    const at = this.#items.findIndex(({ item }) => item.id === id);
    if (at < 0) throw noItem(id, field);
    return at;
  }
}

function noItem(id: string, field: string): StatorError {
  return StatorError.notFound(`\`${field}\`: there is no item \`${id}\``, { field });
}

function sizeOf(item: Item): number {
  return Buffer.byteLength(JSON.stringify(item));
}
