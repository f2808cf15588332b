import type { Logger } from 'pino';
import type { KvIndex } from '#core/kv-index/kv-index.ts';
import type { KvEventFrame } from '#gen/stator/engine/v1/engine_pb.ts';
import type { Backoff } from '#lib/discovery/backoff.ts';
import { EventWriter } from './event-writer.ts';
import type { KvSlots, KvSource } from './kv-slots.ts';
import type { KvEventMetrics } from './metrics.ts';
import type { Permits } from './permits.ts';
import type { TurnBudget } from './turn-budget.ts';

/** What a worker is asked for: everything from a number on; without one, a snapshot first. */
export interface KvEventQuery {
  readonly model: string;
  readonly dataParallelRank: number;
  readonly fromSequenceNumber: bigint;
}

/** SubscribeKvEvents of one worker. */
export type SubscribeKvEvents = (query: KvEventQuery, signal: AbortSignal) => AsyncIterable<KvEventFrame>;

export interface KvFollowerOptions {
  readonly source: KvSource;
  readonly subscribe: SubscribeKvEvents;
  readonly index: KvIndex;
  readonly slots: KvSlots;
  readonly budget: TurnBudget;
  readonly blocksPerTurn: number;
  /** For streams that begin with a snapshot. */
  readonly permits: Permits;
  readonly backoff: Backoff;
  readonly metrics: KvEventMetrics;
  readonly log: Logger;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  /** Blocks that the worker has just computed. */
  onStored(events: number, blocks: number): void;
}

/** `waiting`: for a stream or its snapshot; `filling`: a snapshot is coming in; `following`: up to date. */
export type FollowerState = 'waiting' | 'filling' | 'following';

/** A snapshot that is being written into a slot which nobody looks up yet. */
interface Fill {
  readonly slot: number;
  readonly number: number;
}

/**
 * Keeps the index in step with one rank of one worker. Events have numbers without gaps: what was missed is asked for again,
 * what came before is ignored, and where the worker cannot tell what was missed it sends a snapshot. A snapshot fills a slot
 * of its own, so that until it is complete requests are matched against what was known before.
 */
export class KvFollower {
  readonly source: KvSource;
  readonly #o: KvFollowerOptions;
  readonly #writer: EventWriter;
  readonly #closing = new AbortController();
  #stream: AbortController | undefined;
  #state: FollowerState = 'waiting';
  /** Number of the last event applied; undefined: only a snapshot helps. */
  #last: number | undefined;
  #fill: Fill | undefined;
  #holdsPermit = false;
  /** When the stream was opened or last told something; undefined: there is none. */
  #heardMs: number | undefined;
  /** Since when there is no answer; undefined: the last stream gave one. */
  #unansweredSinceMs: number | undefined;
  #failing = false;

  constructor(options: KvFollowerOptions) {
    const { index, budget, blocksPerTurn, metrics, source } = options;
    this.source = source;
    this.#o = options;
    this.#writer = new EventWriter({
      index,
      budget,
      pieceBlocks: blocksPerTurn,
      metrics,
      dataParallelRank: source.dataParallelRank,
      signal: this.#closing.signal,
    });
    void this.#run();
  }

  get state(): FollowerState {
    return this.#state;
  }

  /** Milliseconds for which the worker has given no answer at all. */
  unansweredMs(nowMs: number): number {
    return this.#unansweredSinceMs === undefined ? 0 : nowMs - this.#unansweredSinceMs;
  }

  /** Opens a stream again that has told nothing for so long: before its first message, and afterwards. */
  checkSilence(nowMs: number, firstMs: number, laterMs: number): void {
    if (this.#heardMs === undefined) return;
    const limitMs = this.#unansweredSinceMs === undefined ? laterMs : firstMs;
    if (nowMs - this.#heardMs >= limitMs) this.#stream?.abort();
  }

  /** Forgets the worker: look-ups do not find it from now on. */
  close(): void {
    this.#closing.abort();
    this.#stream?.abort();
    this.#dropFill();
    this.#o.slots.withdraw(this.source);
  }

  get #closed(): boolean {
    return this.#closing.signal.aborted;
  }

  async #run(): Promise<void> {
    const { permits, backoff } = this.#o;
    while (!this.#closed) {
      if (this.#last === undefined) this.#holdsPermit = await permits.take(this.#closing.signal);
      if (!this.#closed) await this.#follow();
      this.#givePermit();
      this.#dropFill();
      this.#state = 'waiting';
      await backoff.wait(this.#closing.signal);
    }
  }

  /** One stream, to its end. Never throws. */
  async #follow(): Promise<void> {
    const { subscribe, source, nowMs, metrics } = this.#o;
    const { model, dataParallelRank } = source;
    const stream = new AbortController();
    this.#stream = stream;
    this.#heardMs = nowMs();
    this.#unansweredSinceMs ??= this.#heardMs;
    try {
      const fromSequenceNumber = this.#last === undefined ? 0n : BigInt(this.#last + 1);
      if (this.#last !== undefined) this.#state = 'following';
      for await (const frame of subscribe({ model, dataParallelRank, fromSequenceNumber }, stream.signal)) {
        if (this.#closed) return;
        this.#heardMs = nowMs();
        this.#unansweredSinceMs = undefined;
        if (!(await this.#take(frame))) return;
        this.#heardMs = nowMs();
      }
      this.#ended(undefined);
    } catch (thrown) {
      this.#ended(thrown);
    } finally {
      // Leaving the loop does not end the call.
      stream.abort();
      this.#heardMs = undefined;
      if (!this.#closed) metrics.streamsEnded.inc();
    }
  }

  /** False: the stream must be opened again, from where `#last` says. */
  async #take(frame: KvEventFrame): Promise<boolean> {
    try {
      this.#writer.scan.read(frame.batch);
      if (frame.snapshot) return await this.#takeSnapshot(frame);
      if (this.#fill === undefined && this.#last !== undefined) return await this.#advance(frame, this.#last);
      if (this.#writer.scan.count === 0) return true;
      return this.#resync('events came where a snapshot was due');
    } catch (thrown) {
      if (this.#closed) return false;
      this.#o.metrics.malformed.inc(Math.max(1, this.#writer.scan.count));
      return this.#resync('the message is malformed', thrown);
    }
  }

  async #takeSnapshot(frame: KvEventFrame): Promise<boolean> {
    const { slots, source, metrics, backoff } = this.#o;
    const number = Number(frame.newestSequenceNumber);
    if (this.#fill?.number !== number) this.#dropFill();
    this.#fill ??= this.#beginFill(number);
    if (this.#fill === undefined) return false;
    const { slot } = this.#fill;
    const { aborted } = await this.#writer.write(frame.batch, 0, this.#writer.scan.count, slot);
    if (aborted || this.#closed) return false;
    if (!frame.snapshotEnd) return true;
    this.#fill = undefined;
    slots.publish(source, slot);
    this.#last = number;
    this.#state = 'following';
    this.#givePermit();
    this.#succeeded();
    backoff.reset();
    metrics.resyncs.inc();
    return true;
  }

  #beginFill(number: number): Fill | undefined {
    this.#state = 'filling';
    this.#last = undefined;
    try {
      return { slot: this.#o.slots.allocate(), number };
    } catch (thrown) {
      if (!(thrown instanceof RangeError)) throw thrown;
      this.#failed('the index has no slot left', thrown);
      return undefined;
    }
  }

  /** Applies what is new of a message. */
  async #advance({ batch, newestSequenceNumber }: KvEventFrame, known: number): Promise<boolean> {
    const { scan } = this.#writer;
    const { metrics, slots, source, backoff } = this.#o;
    const newest = Number(newestSequenceNumber);
    if (newest > 0 && newest < known) return this.#resync('the worker has begun to count anew');
    if (scan.count === 0) return newest <= known || this.#gap(known, newest + 1, 0);
    let last = known;
    for (let at = 0; at < scan.count; ) {
      const number = scan.numbers[at] ?? 0;
      if (number <= last) {
        metrics.duplicates.inc();
        at++;
      } else if (number !== last + 1) {
        return this.#gap(last, number, scan.count - at);
      } else {
        const end = endOfRun(scan.numbers, at, scan.count);
        const written = await this.#writer.write(batch, at, end, slots.slotOf(source));
        if (written.aborted || this.#closed) return false;
        this.#o.onStored(written.storedEvents, written.storedBlocks);
        last += end - at;
        this.#last = last;
        at = end;
        this.#succeeded();
        backoff.reset();
      }
    }
    return true;
  }

  #gap(last: number, next: number, dropped: number): false {
    const { metrics, log } = this.#o;
    metrics.gaps.inc();
    if (dropped > 0) metrics.afterGap.inc(dropped);
    log.debug({ ...this.#names(), last, next }, 'KV events are missing; they are asked for again');
    return false;
  }

  #resync(why: string, err?: unknown): false {
    this.#last = undefined;
    this.#failed(why, err);
    return false;
  }

  #ended(thrown: unknown): void {
    if (this.#closed) return;
    const silent = this.#stream?.signal.aborted === true;
    this.#failed(silent ? 'it told nothing' : 'it ended', silent ? undefined : thrown);
  }

  /** Told once, until the stream works again. */
  #failed(why: string, err?: unknown): void {
    const level = this.#failing ? 'debug' : 'warn';
    this.#failing = true;
    this.#o.log[level]({ ...this.#names(), why, err }, 'a stream of KV events is opened again');
  }

  #succeeded(): void {
    this.#failing = false;
  }

  #dropFill(): void {
    if (this.#fill === undefined) return;
    this.#o.slots.release(this.#fill.slot);
    this.#fill = undefined;
  }

  #givePermit(): void {
    if (this.#holdsPermit) this.#o.permits.give();
    this.#holdsPermit = false;
  }

  #names(): Readonly<Record<string, unknown>> {
    const { instanceId, model, dataParallelRank } = this.source;
    return { worker: instanceId.toString(16), model, dataParallelRank };
  }
}

/** Where numbers stop growing by one. */
function endOfRun(numbers: Float64Array, from: number, to: number): number {
  let end = from + 1;
  while (end < to && numbers[end] === (numbers[end - 1] ?? 0) + 1) end++;
  return end;
}
