import { z } from 'zod';
import { StatorError } from '#lib/errors/errors.ts';
import type { Store } from '#lib/store/store.ts';
import { tenantCollection } from '../tenant-collection.ts';
import { responseObject } from './answers.ts';
import { type EventPlace, eventPrefix } from './event-log.ts';
import { responseOfItem } from './ids.ts';
import { type InputItem, inputItem, type RequestItem } from './schema.ts';

/** A response as the store keeps it. */
const storedResponse = z.object({
  response: responseObject,
  /** What this response was asked with, without what it follows; each with an id. */
  input: z.array(inputItem),
  /** Unix time in milliseconds until which whoever runs it answers for it; 0: nobody runs it. */
  leaseUnixMs: z.number(),
  /** Whether its events are stored too. */
  streamed: z.boolean().default(false),
  /** The run whose word counts; empty: nobody runs it. */
  owner: z.string().default(''),
  /** Whether another gateway takes it up when whoever runs it dies. */
  resumable: z.boolean().default(false),
});

export type StoredResponse = z.infer<typeof storedResponse>;

/** What a stored response has besides where nobody runs it any more. */
export const unheld = { leaseUnixMs: 0, streamed: false, owner: '', resumable: false } as const;

/** Most responses that one may follow, each by the one before. */
const mostTurns = 1000;
const dayMs = 86_400_000;
/** In which somebody takes up a run that was left, if anybody does. */
const takeUpMs = 60_000;

/** Stored responses of one tenant. */
export class StoredResponses {
  readonly #store: Store;
  readonly #keepMs: number;
  readonly #collection: string;
  readonly #events: string;

  /** For the caller whose request is being answered. */
  constructor(store: Store, o: { readonly responseDays: number }) {
    this.#store = store;
    this.#keepMs = o.responseDays * dayMs;
    this.#collection = tenantCollection('responses');
    this.#events = tenantCollection('response-events');
  }

  /** Throws `not_found`; one whose gateway died while it ran, and that nobody took up, has failed. */
  async get(id: string, field?: string): Promise<StoredResponse> {
    const found = await this.#read(id);
    if (found === null) throw notFound(id, field);
    const { response, leaseUnixMs, resumable } = found.stored;
    const lostMs = leaseUnixMs + (resumable ? takeUpMs : 0);
    const lost = (response.status === 'in_progress' || response.status === 'queued') && lostMs < Date.now();
    if (!lost) return found.stored;
    response.status = 'failed';
    response.error = { code: 'server_error', message: 'The gateway that ran this response stopped.' };
    await this.put(found.stored, found.version).catch(() => {});
    return found.stored;
  }

  async put(stored: StoredResponse, ifVersion?: number): Promise<number> {
    const expiresUnixMs = this.keptUntil(stored.response);
    const value = Buffer.from(JSON.stringify(stored));
    return this.#store.put(this.#collection, stored.response.id, value, {
      expiresUnixMs,
      ...(ifVersion === undefined ? {} : { ifVersion }),
    });
  }

  /** Changes a response unless it is gone; the change is asked again where somebody else was faster. null: gone. */
  async change(id: string, change: (stored: StoredResponse) => boolean): Promise<StoredResponse | null> {
    for (;;) {
      const found = await this.#read(id);
      if (found === null) return null;
      if (!change(found.stored)) return found.stored;
      try {
        await this.put(found.stored, found.version);
        return found.stored;
      } catch (thrown) {
        if (StatorError.from(thrown).code !== 'conflict') throw thrown;
      }
    }
  }

  async delete(id: string): Promise<void> {
    if (!(await this.#store.delete(this.#collection, keyOf(id)))) throw notFound(id);
    await this.#store.deletePrefix(this.#events, eventPrefix(id));
  }

  /** Where the events of a response are. */
  eventsOf(responseId: string): EventPlace {
    return { store: this.#store, collection: this.#events, responseId };
  }

  /** Unix time in milliseconds until which a response is kept. */
  keptUntil(response: StoredResponse['response']): number {
    return Math.floor(response.created_at * 1000 + this.#keepMs);
  }

  /** Unix time in milliseconds until which a response of now would be kept. */
  keptForMs(): number {
    return Date.now() + this.#keepMs;
  }

  /** Everything that was said before and in this response, in order. */
  async conversation(id: string): Promise<readonly InputItem[]> {
    const turns: (readonly InputItem[])[] = [];
    let next: string | null = id;
    while (next !== null) {
      const { response, input }: StoredResponse = await this.get(next, 'previous_response_id');
      if (response.status !== 'completed' && response.status !== 'incomplete')
        throw StatorError.invalid(
          'previous_response_id',
          `\`previous_response_id\`: the response \`${next}\` is ${response.status}`,
        );
      turns.push([...input, ...response.output]);
      next = response.previous_response_id;
      if (turns.length > mostTurns)
        throw StatorError.invalid('previous_response_id', `\`previous_response_id\`: more than ${mostTurns} turns`);
    }
    return turns.reverse().flat();
  }

  /** The items, with what references refer to in their place. Throws `not_found` naming the reference. */
  async resolved(input: string | readonly RequestItem[]): Promise<string | readonly InputItem[]> {
    if (typeof input === 'string') return input;
    const known = new Map<string, readonly InputItem[]>();
    const items: InputItem[] = [];
    for (const [index, item] of input.entries()) {
      if (item.type !== 'item_reference') items.push(item);
      else items.push(await this.#referred(item.id, `input[${index}].id`, known));
    }
    return items;
  }

  async #referred(id: string, field: string, known: Map<string, readonly InputItem[]>): Promise<InputItem> {
    const of = responseOfItem(id) ?? '';
    const output = known.get(of) ?? (await this.#read(of))?.stored.response.output ?? [];
    known.set(of, output);
    const found = output.find((item) => item.id === id);
    if (found !== undefined) return found;
    throw StatorError.notFound(`No stored response has an output item \`${id}\`.`, { field });
  }

  async #read(id: string): Promise<{ stored: StoredResponse; version: number } | null> {
    const found = await this.#store.get(this.#collection, keyOf(id));
    if (found === null) return null;
    const parsed: unknown = JSON.parse(Buffer.from(found.value).toString('utf8'));
    return { stored: storedResponse.parse(parsed), version: found.version };
  }
}

/** Ids that no response can have are keys that no document has. */
function keyOf(id: string): string {
  return /^[\x20-\x7e]{1,128}$/.test(id) ? id : 'none';
}

function notFound(id: string, field?: string): StatorError {
  const message = `The response \`${id.slice(0, 128)}\` does not exist.`;
  return StatorError.notFound(message, field === undefined ? {} : { field });
}
