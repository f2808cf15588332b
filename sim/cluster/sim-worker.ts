import { create } from '@bufbuild/protobuf';
import type { SimulatedEngine } from '#core/scheduling/engine/engine-model.ts';
import { type RankLoad, RankLoadSchema } from '#gen/stator/events/v1/events_pb.ts';
import type { LoadPoll } from '#services/router/load-poll.ts';
import type { VirtualClock } from '../clock/virtual-clock.ts';
import type { KvFeed } from './kv-feed.ts';
import { type RankListener, SimRank } from './sim-rank.ts';
import type { WorkerSpec } from './worker-spec.ts';

export interface SimWorkerOptions {
  readonly index: number;
  readonly instanceId: bigint;
  readonly spec: WorkerSpec;
  readonly clock: VirtualClock;
  readonly loadPollMs: number;
  readonly listener: RankListener;
  readonly tellsOutput: boolean;
  /** The engine of each rank. */
  createEngine(rank: number): SimulatedEngine;
  /** The way of each rank's cache events; null: it sends none. */
  createFeed(rank: number): KvFeed | null;
}

/** A worker: engines for its ranks, and its load, told as often as the router asks for it. */
export class SimWorker {
  readonly index: number;
  readonly instanceId: bigint;
  readonly spec: WorkerSpec;
  readonly ranks: readonly SimRank[];
  readonly #clock: VirtualClock;
  readonly #pollMs: number;
  #tell: ((ranks: readonly RankLoad[]) => void) | undefined;
  #polling = false;

  constructor(options: SimWorkerOptions) {
    const { index, instanceId, spec, clock, loadPollMs, createEngine, createFeed, ...rest } = options;
    this.index = index;
    this.instanceId = instanceId;
    this.spec = spec;
    this.#clock = clock;
    this.#pollMs = loadPollMs;
    this.ranks = Array.from(
      { length: spec.ranks },
      (_, rank) =>
        new SimRank({ engine: createEngine(rank), settings: spec.engine, clock, feed: createFeed(rank), ...rest }),
    );
  }

  sync(): void {
    for (const rank of this.ranks) rank.sync();
  }

  /** The router asks for the load from now on. */
  startLoad(tell: (ranks: readonly RankLoad[]) => void): LoadPoll {
    this.#tell = tell;
    this.#report();
    return {
      alive: true,
      close: () => {
        this.#tell = undefined;
      },
    };
  }

  /** It got work: its load changes until it has none, and is not told again before it changes. */
  awaken(): void {
    if (this.#polling || this.#tell === undefined) return;
    this.#polling = true;
    const { nowMs } = this.#clock;
    // Workers are asked at different moments, as they would be.
    const phaseMs = (this.index * 7919) % this.#pollMs;
    const next = Math.floor((nowMs - phaseMs) / this.#pollMs + 1) * this.#pollMs + phaseMs;
    this.#clock.after(next - nowMs, () => this.#poll());
  }

  #poll(): void {
    this.#polling = false;
    if (this.#tell === undefined) return;
    this.#report();
    if (this.ranks.some(({ size }) => size > 0)) this.awaken();
  }

  #report(): void {
    this.sync();
    this.#tell?.(
      this.ranks.map(({ load }, dataParallelRank) =>
        create(RankLoadSchema, {
          dataParallelRank,
          runningSequences: load.running,
          queuedSequences: load.waiting,
          activeKvBlocks: BigInt(load.activeBlocks),
          cachedKvBlocks: BigInt(load.cachedBlocks),
          totalKvBlocks: BigInt(load.totalBlocks),
          pendingPrefillTokens: BigInt(load.pendingPrefillTokens),
        }),
      ),
    );
  }
}
