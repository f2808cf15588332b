import { setImmediate as nextTurn } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import type { BlockManager } from '#core/blocks/block-manager.ts';
import type { TierChange } from '#core/blocks/event-log.ts';
import { hashCount } from '#core/tokens/packed-hashes.ts';
import { type KvEvent, KvEventBatchSchema, KvEventSchema } from '#gen/stator/events/v1/events_pb.ts';
import { type PresenceEvents, PresenceEventsSchema } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { wakened } from './waiting.ts';

export interface PresenceOptions {
  readonly manager: BlockManager;
  /** Blocks in changes that wait for one reader at most. */
  readonly limit: number;
  /** A reader was too slow and gets a snapshot. */
  readonly onOverflow: () => void;
}

/** One reader's view: whatever it missed it is told by a snapshot. */
export class PresenceReader {
  readonly #presence: Presence;
  readonly #wants: (namespace: number) => boolean;
  readonly #limit: number;
  #pending: TierChange[] = [];
  #blocks = 0;
  #overflown = false;
  /** Namespaces of which everything must be told. */
  #untold = new Set<number>();
  #wake: () => void = () => {};

  /** Use `Presence.read`. */
  constructor(presence: Presence, wants: (namespace: number) => boolean, limit: number) {
    this.#presence = presence;
    this.#wants = wants;
    this.#limit = limit;
  }

  /** Changes, as they come; false when the reader was too slow for them. */
  offer(changes: readonly TierChange[]): boolean {
    const wanted = changes.filter(({ namespace }) => this.#wants(namespace) && !this.#untold.has(namespace));
    this.#blocks += wanted.reduce((sum, { event }) => sum + hashCount(event.sequenceHashes), 0);
    if (this.#blocks > this.#limit) return false;
    this.#pending.push(...wanted);
    if (wanted.length > 0) this.#wake();
    return true;
  }

  /** Everything of these namespaces is told anew. */
  tell(namespaces: Iterable<number>): void {
    for (const namespace of namespaces) if (this.#wants(namespace)) this.#untold.add(namespace);
    this.#pending = this.#pending.filter(({ namespace }) => !this.#untold.has(namespace));
    this.#wake();
  }

  /** What waited is forgotten; a snapshot of everything follows. */
  overflow(): void {
    this.#pending = [];
    this.#blocks = 0;
    this.#overflown = true;
    this.#wake();
  }

  /** What there is to tell, parts of a snapshot first; ends when nothing is left to tell at present. */
  async *take(all: () => Iterable<number>): AsyncGenerator<PresenceEvents> {
    if (this.#overflown) this.tell(all());
    this.#overflown = false;
    if (this.#untold.size > 0) yield* this.#snapshot();
    const changes = this.#pending;
    this.#pending = [];
    this.#blocks = 0;
    for (const run of runsOf(changes)) yield run;
  }

  /** Whether `take` would give anything. */
  get isWaiting(): boolean {
    return this.#overflown || this.#untold.size > 0 || this.#pending.length > 0;
  }

  /** Resolves when there is something to tell, or after so long. */
  async ready(timeoutMs: number, signal: AbortSignal): Promise<void> {
    if (this.isWaiting) return;
    await wakened(timeoutMs, signal, (wake) => {
      this.#wake = wake;
    });
    this.#wake = () => {};
  }

  async *#snapshot(): AsyncGenerator<PresenceEvents> {
    const steps = this.#presence.snapshot();
    const fresh = new Set(this.#untold);
    this.#untold = new Set();
    const begun = new Set<number>();
    for (const step of steps) {
      for (const run of runsOf(step.filter(({ namespace }) => fresh.has(namespace)))) {
        run.restart = !begun.has(run.namespace);
        begun.add(run.namespace);
        yield run;
      }
      await nextTurn();
    }
    for (const namespace of fresh)
      if (!begun.has(namespace)) yield create(PresenceEventsSchema, { namespace, restart: true, batch: {} });
  }
}

/** Tells readers which tier has which block, from one log of changes. Bounded for each reader. */
export class Presence {
  readonly #options: PresenceOptions;
  readonly #readers = new Set<PresenceReader>();

  constructor(options: PresenceOptions) {
    this.#options = options;
  }

  get readers(): number {
    return this.#readers.size;
  }

  /** A reader of the namespaces that it wants; `leave` must follow. */
  read(wants: (namespace: number) => boolean): PresenceReader {
    this.flush();
    const reader = new PresenceReader(this, wants, this.#options.limit);
    this.#readers.add(reader);
    return reader;
  }

  leave(reader: PresenceReader): void {
    this.#readers.delete(reader);
  }

  /** Passes on what changed since the last call. */
  flush(): void {
    const { manager, onOverflow } = this.#options;
    const changes = manager.takeEvents();
    for (const reader of this.#readers) {
      if (changes !== null && reader.offer(changes)) continue;
      reader.overflow();
      onOverflow();
    }
  }

  /** Everything that is there; changes that come later are among those that `offer` gives. */
  snapshot(): Generator<TierChange[]> {
    this.flush();
    return this.#options.manager.snapshot();
  }
}

/** Changes in order, neighbours of one namespace in one message. */
function* runsOf(changes: readonly TierChange[]): Generator<PresenceEvents> {
  for (let from = 0, to = 1; from < changes.length; to++) {
    const namespace = changes[from]?.namespace ?? 0;
    if (to < changes.length && to - from < 256 && changes[to]?.namespace === namespace) continue;
    const events = changes.slice(from, to).map(eventOf);
    yield create(PresenceEventsSchema, { namespace, batch: create(KvEventBatchSchema, { events }) });
    from = to;
  }
}

function eventOf(change: TierChange): KvEvent {
  const wrapped =
    change.kind === 'stored' ? { case: change.kind, value: change.event } : { case: change.kind, value: change.event };
  return create(KvEventSchema, { change: wrapped });
}
