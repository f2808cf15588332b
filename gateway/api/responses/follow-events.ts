import { setTimeout as delay } from 'node:timers/promises';
import { StatorError } from '#lib/errors/errors.ts';
import { type EventPlace, eventKey, eventPrefix } from './event-log.ts';
import type { StoredResponse, StoredResponses } from './stored.ts';

/** Milliseconds between looks at what another gateway stores. */
const lookMs = 250;
const partsAtOnce = 16;

export interface Following {
  readonly place: EventPlace;
  readonly responses: StoredResponses;
  /** Number of the last event that the client has; -1: none. */
  readonly startingAfter: number;
  /** Resolves when this gateway has stored more; undefined: another gateway runs the response, or none does. */
  readonly changed: () => Promise<void> | undefined;
  readonly keepAliveMs: number;
  readonly signal: AbortSignal;
}

/** The events of a response behind the last one that the client has, as they are stored; ends with the response. */
export async function* followEvents(o: Following): AsyncGenerator<string> {
  const { place, responses, signal } = o;
  const { responseId } = place;
  let last = o.startingAfter;
  let after: string | null = null;
  let saidMs = Date.now();
  /** The response as it ended: what is not stored by then never will be. */
  let ended: StoredResponse['response'] | null = null;
  for (;;) {
    const changed = o.changed();
    const parts = await place.store.list(place.collection, {
      prefix: eventPrefix(responseId),
      after,
      limit: partsAtOnce,
    });
    for (const part of parts) {
      after = part.key;
      const { text, sequence, isLast } = eventsAfter(Buffer.from(part.value).toString('utf8'), last);
      last = Math.max(last, sequence);
      if (text !== '') {
        saidMs = Date.now();
        yield text;
      }
      if (isLast) return;
    }
    if (parts.length > 0) continue;
    if (ended !== null) {
      yield ending(ended, last);
      return;
    }
    const { response } = await responses.get(responseId);
    if (response.status !== 'queued' && response.status !== 'in_progress' && changed === undefined) {
      ended = response;
      continue;
    }
    if (o.keepAliveMs > 0 && Date.now() - saidMs >= o.keepAliveMs) {
      saidMs = Date.now();
      yield ': keep-alive\n\n';
    }
    const look = delay(lookMs, undefined, { signal });
    await (changed === undefined ? look : Promise.race([changed, look]));
  }
}

/** What a response has told of itself before any output. */
const firstTypes: ReadonlySet<string> = new Set(['response.created', 'response.queued', 'response.in_progress']);

/** What is stored of the events of a response. */
export interface StoredEvents {
  readonly parts: number;
  /** Of the event that would follow. */
  readonly nextSequence: number;
  /** Whether any tells of output. */
  readonly hasOutput: boolean;
}

/** Takes over the writing of events: whoever wrote them before can store no more. Not where some tell of output. */
export async function claimEvents(place: EventPlace, expiresUnixMs: number): Promise<StoredEvents> {
  for (;;) {
    const events = await storedEvents(place);
    if (events.hasOutput) return events;
    try {
      const key = eventKey(place.responseId, events.parts);
      // A comment, which nobody is told.
      await place.store.put(place.collection, key, Buffer.from(': taken up\n\n'), { ifVersion: 0, expiresUnixMs });
      return { ...events, parts: events.parts + 1 };
    } catch (thrown) {
      if (StatorError.from(thrown).code !== 'conflict') throw thrown;
    }
  }
}

async function storedEvents({ store, collection, responseId }: EventPlace): Promise<StoredEvents> {
  let [parts, nextSequence, hasOutput] = [0, 0, false];
  for (let after: string | null = null; ; ) {
    const page = await store.list(collection, { prefix: eventPrefix(responseId), after, limit: partsAtOnce });
    for (const { key, value } of page) {
      after = key;
      parts += 1;
      const text = Buffer.from(value).toString('utf8');
      nextSequence = Math.max(nextSequence, eventsAfter(text, -1).sequence + 1);
      hasOutput ||= [...text.matchAll(/^event: (\S+)$/gm)].some(([, type = '']) => !firstTypes.has(type));
    }
    if (page.length < partsAtOnce) return { parts, nextSequence, hasOutput };
  }
}

const lastTypes: ReadonlySet<string> = new Set(['response.completed', 'response.incomplete', 'response.failed']);

/** What follows an event of that number, the highest number and whether nothing can follow. */
function eventsAfter(
  text: string,
  startingAfter: number,
): { readonly text: string; readonly sequence: number; readonly isLast: boolean } {
  const kept: string[] = [];
  let sequence = -1;
  let isLast = false;
  for (const event of text.split('\n\n')) {
    const [, type = '', number = ''] =
      /^event: (\S+)\ndata: \{"type":"[^"]*","sequence_number":(\d+)/.exec(event) ?? [];
    if (type === '') continue;
    sequence = Number(number);
    isLast ||= lastTypes.has(type);
    if (sequence > startingAfter) kept.push(`${event}\n\n`);
  }
  return { text: kept.join(''), sequence, isLast };
}

/** The last event where none was stored: its gateway died, or somebody cancelled the response. */
function ending(response: StoredResponse['response'], last: number): string {
  const type = lastTypes.has(`response.${response.status}`) ? `response.${response.status}` : 'response.failed';
  return `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: last + 1, response })}\n\n`;
}
