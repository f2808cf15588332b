import {
  type EngineLoad,
  type EngineRun,
  type EngineStep,
  type SimulatedEngine,
  type SimulatedRequest,
  stepFlags,
} from '#core/scheduling/engine/engine-model.ts';
import type { EngineSettings } from '#core/scheduling/engine/settings.ts';
import type { VirtualClock, VirtualTimer } from '../clock/virtual-clock.ts';
import type { KvFeed } from './kv-feed.ts';

/** A sequence on an engine: what its tokens were so far. */
export interface TrackedSequence {
  readonly id: number;
  readonly maxTokens: number;
  readonly promptTokens: number;
  tokens: number;
  /** NaN before. */
  startedMs: number;
  firstMs: number;
  lastMs: number;
  longestGapMs: number;
  cachedTokens: number;
  preemptions: number;
}

export interface RankListener {
  /** The prompt is computed. */
  first(sequence: TrackedSequence): void;
  /** It has all its tokens; `handoff`: its blocks wait to be released. */
  finished(sequence: TrackedSequence, handoff: boolean): void;
  /** It has more tokens; called for those of runs and passes alike. */
  output(sequence: TrackedSequence): void;
}

export interface SimRankOptions {
  readonly engine: SimulatedEngine;
  /** The engine's. */
  readonly settings: EngineSettings;
  readonly clock: VirtualClock;
  /** The way of its cache events; null: it sends none. */
  readonly feed: KvFeed | null;
  readonly listener: RankListener;
  /** Whether `RankListener.output` must be called with every look, not only when something else happens. */
  readonly tellsOutput: boolean;
}

/** Steps in one run at most. */
const maxRunSteps = 4096;

/**
 * One engine under virtual time. Passes in which something ends are events of their own; passes that only decode are made
 * together, when somebody looks (`sync`) or the next end may come. Nothing that can be seen from outside differs from making
 * each by itself: whoever submits or looks is told of everything before that moment.
 */
export class SimRank {
  readonly #engine: SimulatedEngine;
  readonly #clock: VirtualClock;
  readonly #feed: KvFeed | null;
  readonly #listener: RankListener;
  readonly #tellsOutput: boolean;
  readonly #blockSize: number;
  readonly #timer: VirtualTimer;
  /** Most tokens of prompt and output. */
  readonly #limitTokens: number;
  readonly #tracked = new Map<number, TrackedSequence>();
  /** All passes that start before this are made; what `#state` says ends then. */
  #madeUntilMs = 0;
  #state: 'idle' | 'pass' | 'decoding' = 'idle';
  #yielded = false;
  #kvUnread = false;
  /** While decoding: no sequence ends or gives up its blocks in a pass that starts before this. */
  #nextEndMs = 0;
  /** While decoding: no block is begun or filled in a pass that starts before this. */
  #nextChangeMs = 0;
  readonly #step = new StepCopy();
  #passesMade = 0;
  #late = 0;

  constructor(options: SimRankOptions) {
    const { engine, clock, feed, listener, settings, tellsOutput } = options;
    this.#engine = engine;
    this.#clock = clock;
    this.#feed = feed;
    this.#listener = listener;
    this.#tellsOutput = tellsOutput;
    const { contextLength, totalBlocks, blockSize, chunkedPrefill, maxBatchedTokens } = settings;
    this.#blockSize = blockSize;
    const pass = chunkedPrefill ? Number.POSITIVE_INFINITY : maxBatchedTokens;
    this.#limitTokens = Math.min(contextLength, totalBlocks * blockSize, pass);
    this.#timer = clock.timer(() => this.#wake());
  }

  /** Valid after `sync`. */
  get load(): EngineLoad {
    return this.#engine.load;
  }

  get size(): number {
    return this.#engine.size;
  }

  get passes(): number {
    return this.#passesMade;
  }

  /** Ends that were noticed after their time: the timing model got faster as contexts grew. */
  get lateEnds(): number {
    return this.#late;
  }

  /** Throws RequestRejectedError for what can never run. */
  submit(request: SimulatedRequest): void {
    const { nowMs } = this.#clock;
    if (this.#state === 'decoding') this.#catchUp(nowMs);
    this.#engine.submit(request, nowMs);
    this.#tracked.set(request.id, {
      id: request.id,
      maxTokens: Math.min(request.maxTokens, this.#limitTokens - request.promptTokens),
      promptTokens: request.promptTokens,
      tokens: 0,
      startedMs: Number.NaN,
      firstMs: Number.NaN,
      lastMs: Number.NaN,
      longestGapMs: 0,
      cachedTokens: 0,
      preemptions: 0,
    });
    if (this.#state === 'idle') this.#timer.set(nowMs);
    else if (this.#state === 'decoding') this.#timer.set(this.#madeUntilMs);
  }

  releaseHandoff(id: number): void {
    this.sync();
    this.#engine.releaseHandoff(id);
    this.#kvUnread = true;
    // Who waits for blocks may go on.
    if (this.#state === 'idle' && this.#engine.size > 0) this.#timer.set(this.#clock.nowMs);
  }

  /** Makes what changes load or cache before now, and shows the router what has changed in the cache. */
  sync(): void {
    const { nowMs } = this.#clock;
    if (this.#state === 'decoding' && this.#nextChangeMs < nowMs) this.#catchUp(nowMs);
    if (this.#feed === null || !this.#kvUnread) return;
    this.#feed.apply(this.#engine.takeKvChanges(), nowMs);
    this.#kvUnread = this.#feed.waiting;
  }

  #wake(): void {
    const { nowMs, nextMs } = this.#clock;
    if (this.#state === 'pass') {
      this.#deliver(nowMs);
      this.#state = 'idle';
    }
    // Whatever else happens at this time comes first, so that the next pass has it.
    if (!this.#yielded && nextMs <= nowMs) {
      this.#yielded = true;
      this.#timer.set(nowMs);
      return;
    }
    this.#yielded = false;
    if (this.#state === 'decoding') this.#catchUp(nowMs);
    if (this.#is('pass')) return;
    if (this.#is('decoding') && this.#madeUntilMs > nowMs) this.#timer.set(this.#nextEndMs);
    else this.#go(nowMs);
  }

  /** The next pass, or a run of them. */
  #go(nowMs: number): void {
    const { nextMs } = this.#clock;
    const run =
      nextMs > nowMs
        ? this.#engine.run(nowMs, nextMs, maxRunSteps)
        : this.#engine.run(nowMs, Number.POSITIVE_INFINITY, 1);
    if (run !== undefined) {
      this.#state = 'decoding';
      this.#account(run);
      this.#timer.set(this.#nextEndMs);
      return;
    }
    const step = this.#engine.step(nowMs);
    if (step === undefined) {
      this.#rest();
      return;
    }
    this.#take(step);
    this.#state = 'pass';
    this.#timer.set(this.#madeUntilMs);
  }

  /** The state may have changed in a call, which a comparison of the field would not see. */
  #is(state: 'idle' | 'pass' | 'decoding'): boolean {
    return this.#state === state;
  }

  /** Nothing can be computed before KV has come or something is submitted. */
  #rest(): void {
    this.#state = 'idle';
    const { wakeAtMs } = this.#engine;
    if (wakeAtMs !== undefined) this.#timer.set(wakeAtMs);
  }

  /** Makes the passes of a decoding engine that start before a time. */
  #catchUp(untilMs: number): void {
    while (this.#madeUntilMs < untilMs) {
      const run = this.#engine.run(this.#madeUntilMs, untilMs, maxRunSteps);
      if (run !== undefined) {
        this.#account(run);
        continue;
      }
      const step = this.#engine.step(this.#madeUntilMs);
      if (step === undefined) {
        this.#rest();
        return;
      }
      this.#take(step);
      if (this.#step.flagged > 0) this.#late++;
      if (this.#madeUntilMs <= untilMs) this.#deliver(this.#madeUntilMs);
      else {
        this.#state = 'pass';
        this.#timer.set(this.#madeUntilMs);
        return;
      }
    }
  }

  #account({ startMs, steps, durationsMs, count, ids, endMs }: EngineRun): void {
    let longestMs = 0;
    for (let step = 0; step < steps; step++) longestMs = Math.max(longestMs, durationsMs[step] ?? 0);
    const firstEndMs = startMs + (durationsMs[0] ?? 0);
    let untilEnd = Number.POSITIVE_INFINITY;
    let untilBlock = Number.POSITIVE_INFINITY;
    for (let at = 0; at < count; at++) {
      const sequence = this.#tracked.get(ids[at] ?? 0);
      if (sequence === undefined) continue;
      sequence.longestGapMs = Math.max(sequence.longestGapMs, firstEndMs - sequence.lastMs, longestMs);
      sequence.tokens += steps;
      sequence.lastMs = endMs;
      untilEnd = Math.min(untilEnd, sequence.maxTokens - sequence.tokens - 1);
      const inBlock = (sequence.promptTokens + sequence.tokens - 1) % this.#blockSize;
      untilBlock = Math.min(untilBlock, inBlock === 0 ? 0 : this.#blockSize - 1 - inBlock);
      this.#listener.output(sequence);
    }
    // While everybody has blocks nobody gives any back, and passes get no shorter as contexts grow.
    const { totalBlocks, activeBlocks } = this.#engine.load;
    untilEnd = Math.min(untilEnd, Math.floor((totalBlocks - activeBlocks) / count) * this.#blockSize);
    const shortestMs = (durationsMs[steps - 1] ?? 0) * (1 - 1e-9);
    this.#madeUntilMs = endMs;
    this.#nextEndMs = endMs + Math.max(0, untilEnd) * shortestMs;
    this.#nextChangeMs = this.#tellsOutput ? endMs : endMs + untilBlock * shortestMs;
    this.#passesMade += steps;
    this.#kvUnread = true;
  }

  /** Remembers what a pass did until it is over. */
  #take(step: EngineStep): void {
    this.#step.copy(step);
    this.#madeUntilMs = step.startMs + step.durationMs;
    this.#passesMade++;
    this.#kvUnread = true;
  }

  /** The pass is over: its tokens are there. */
  #deliver(atMs: number): void {
    const step = this.#step;
    for (let at = 0; at < step.rows; at++) {
      const sequence = this.#tracked.get(step.ids[at] ?? 0);
      if (sequence === undefined) continue;
      const flags = step.flags[at] ?? 0;
      sequence.tokens += step.tokens[at] ?? 0;
      if ((flags & stepFlags.first) !== 0) {
        sequence.firstMs = atMs;
        sequence.startedMs = step.scheduledMs[at] ?? Number.NaN;
        sequence.cachedTokens = step.cachedTokens[at] ?? 0;
      } else sequence.longestGapMs = Math.max(sequence.longestGapMs, atMs - sequence.lastMs);
      sequence.lastMs = atMs;
      if ((flags & stepFlags.first) !== 0) this.#listener.first(sequence);
      if ((flags & stepFlags.finished) !== 0) {
        sequence.preemptions = step.preemptions[at] ?? 0;
        this.#tracked.delete(sequence.id);
        this.#listener.finished(sequence, (flags & stepFlags.handoff) !== 0);
      } else this.#listener.output(sequence);
    }
    step.rows = 0;
  }
}

/** Copies of a step's columns: the engine uses its own again. */
class StepCopy {
  rows = 0;
  /** Rows that say more than that a sequence has tokens. */
  flagged = 0;
  ids = new Int32Array(64);
  tokens = new Int32Array(64);
  flags = new Uint8Array(64);
  cachedTokens = new Int32Array(64);
  scheduledMs = new Float64Array(64);
  preemptions = new Int32Array(64);

  copy(step: EngineStep): void {
    const { count } = step;
    if (this.ids.length < count) {
      this.ids = new Int32Array(count * 2);
      this.tokens = new Int32Array(count * 2);
      this.flags = new Uint8Array(count * 2);
      this.cachedTokens = new Int32Array(count * 2);
      this.scheduledMs = new Float64Array(count * 2);
      this.preemptions = new Int32Array(count * 2);
    }
    this.ids.set(step.ids.subarray(0, count));
    this.tokens.set(step.tokens.subarray(0, count));
    this.flags.set(step.flags.subarray(0, count));
    this.cachedTokens.set(step.cachedTokens.subarray(0, count));
    this.scheduledMs.set(step.scheduledMs.subarray(0, count));
    this.preemptions.set(step.preemptions.subarray(0, count));
    this.rows = count;
    this.flagged = 0;
    for (let at = 0; at < count; at++) if ((this.flags[at] ?? 0) !== 0) this.flagged++;
  }
}
