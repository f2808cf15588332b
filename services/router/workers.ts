import type { Logger } from 'pino';
import { isComplete, type ModelSet, ModelSets } from '#core/models/model-sets.ts';
import { type Instance, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { RankLoad } from '#gen/stator/events/v1/events_pb.ts';
import type { Discovery, DownReason, Watch } from '#lib/discovery/discovery.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { LoadPoll } from './load-poll.ts';
import type { RouterMetrics } from './metrics.ts';
import { RankSlots } from './rank-slots.ts';
import { rankNumbers, ranksOf, reportedLoad, type WorkerHealth, type WorkerRank } from './worker-ranks.ts';

export interface WorkersOptions {
  readonly discovery: Discovery;
  readonly metrics: RouterMetrics;
  readonly log: Logger;
  readonly inhibitMs: number;
  /** Most workers that calls make known. */
  readonly maxAddedWorkers: number;
  /** Workers that must have been known at once before requests are placed. */
  readonly minInitialWorkers: number;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  /** Asks a worker for its load from now on; reports each answer, and whether the worker answers at all. */
  startPoll(instance: Instance, listener: { onLoad(ranks: readonly RankLoad[]): void; onGone(): void }): LoadPoll;
  /** A worker is gone for good: what was placed there has ended. `slots` are its ranks' numbers, free after this. */
  onGone(instanceId: bigint, slots: readonly number[]): void;
  /** A worker came, went or changed; it is gone if it is not known any more. */
  onChange(instanceId: bigint): void;
  /** A worker told its load. */
  onLoad(instanceId: bigint): void;
}

interface KnownWorker {
  instance: Instance;
  readonly poll: LoadPoll;
  readonly health: WorkerHealth;
  /** Discovery lost it, but it still answers. */
  discoveryLost: boolean;
  /** Made known by a call, not by discovery: it stays until a call removes it. */
  byCall: boolean;
}

/**
 * The workers that can be routed to. Discovery names them; one that discovery loses without the worker's own word stays for
 * as long as it answers: a live connection is better evidence than a lost lease, so a mass expiry never empties routing.
 */
export class Workers {
  readonly #options: WorkersOptions;
  readonly #known = new Map<bigint, KnownWorker>();
  readonly #slots = new RankSlots();
  /** Ranks by model, built anew after any change of workers. */
  readonly #ranks = new Map<string, readonly WorkerRank[]>();
  readonly #models: ModelSets;
  readonly #watch: Watch;
  readonly #enough = Promise.withResolvers<void>();
  #isReady = false;
  #added = 0;

  constructor(options: WorkersOptions) {
    this.#options = options;
    this.#models = new ModelSets((instance, card) => {
      options.metrics.rejectedCards.inc();
      options.log.error(
        { model: card.name, worker: instance.instanceId.toString(16) },
        'worker left out: its model card differs from the one in use under this name',
      );
    });
    this.#countInitial();
    this.#watch = options.discovery.watch(ServiceKind.WORKER, {
      onUp: (instance) => this.#up(instance, false),
      onChange: (instance) => this.#up(instance, false),
      onDown: (instance, reason) => this.#down(instance, reason),
    });
  }

  get synced(): Promise<void> {
    return this.#watch.synced;
  }

  get size(): number {
    return this.#known.size;
  }

  /** Whether there were ever enough workers to begin with. */
  get isReady(): boolean {
    return this.#isReady;
  }

  get minInitial(): number {
    return this.#options.minInitialWorkers;
  }

  /** Resolves when there are. */
  get ready(): Promise<void> {
    return this.#enough.promise;
  }

  /** Workers that calls made known. */
  get added(): number {
    return this.#added;
  }

  get addedLimit(): number {
    return this.#options.maxAddedWorkers;
  }

  has(instanceId: bigint): boolean {
    return this.#known.has(instanceId);
  }

  get(instanceId: bigint): Instance | undefined {
    return this.#known.get(instanceId)?.instance;
  }

  instances(): Instance[] {
    return [...this.#known.values()].map(({ instance }) => instance);
  }

  models(): readonly ModelSet[] {
    return this.#models.all();
  }

  model(name: string): ModelSet | undefined {
    return this.#models.get(name);
  }

  isRoutable(set: ModelSet): boolean {
    return isComplete(set);
  }

  /** Numbers of ranks, for accounts. */
  get slots(): RankSlots {
    return this.#slots;
  }

  /** Every rank of the model's workers. The same array until a worker comes, goes or changes. */
  ranksOf(set: ModelSet): readonly WorkerRank[] {
    const known = this.#ranks.get(set.name);
    if (known !== undefined) return known;
    const ranks = ranksOf(set, this.#slots, (instanceId) => this.#known.get(instanceId)?.health);
    this.#ranks.set(set.name, ranks);
    return ranks;
  }

  /** Data parallel ranks of a worker, whichever models it serves. */
  rankNumbersOf({ cards }: Instance): readonly number[] {
    return [...new Set(cards.flatMap(rankNumbers))];
  }

  /** What a worker last said of a rank; undefined: nothing yet. */
  reported(instanceId: bigint, dataParallelRank: number): RankLoad | undefined {
    return this.#known.get(instanceId)?.health.loads.get(dataParallelRank)?.report;
  }

  /** The worker failed a request: it is avoided for a while. */
  inhibit(instanceId: bigint): void {
    const worker = this.#known.get(instanceId);
    if (worker === undefined || this.#options.inhibitMs === 0) return;
    worker.health.inhibitedUntilMs = this.#options.nowMs() + this.#options.inhibitMs;
    this.#options.metrics.inhibitions.inc();
  }

  /** Makes a worker known that discovery does not tell of. Throws `conflict` for one of discovery's, `overloaded` for one too many. */
  upsert(instance: Instance): void {
    const known = this.#known.get(instance.instanceId);
    if (known !== undefined && !known.byCall)
      throw new StatorError('conflict', `Discovery has the worker ${instance.instanceId} already.`, {
        field: 'worker.instance_id',
      });
    if (known === undefined) this.#refuseBeyondLimit();
    this.#up(instance, true);
  }

  /** Forgets a worker that `upsert` made known; false: there is none. */
  forget(instanceId: bigint): boolean {
    if (this.#known.get(instanceId)?.byCall !== true) return false;
    this.#remove(instanceId);
    return true;
  }

  close(): void {
    this.#watch.close();
    for (const { poll } of this.#known.values()) poll.close();
    this.#known.clear();
  }

  #up(instance: Instance, byCall: boolean): void {
    const known = this.#known.get(instance.instanceId);
    if (known === undefined) {
      const poll = this.#options.startPoll(instance, {
        onLoad: (ranks) => this.#loaded(instance.instanceId, ranks),
        onGone: () => this.#silent(instance.instanceId),
      });
      this.#known.set(instance.instanceId, {
        instance,
        poll,
        health: { inhibitedUntilMs: 0, loads: new Map() },
        discoveryLost: false,
        byCall,
      });
      this.#added += Number(byCall);
    } else {
      this.#added += Number(byCall) - Number(known.byCall);
      known.instance = instance;
      known.discoveryLost = false;
      known.byCall = byCall;
    }
    this.#models.upsert(instance);
    this.#changed(instance.instanceId);
  }

  #refuseBeyondLimit(): void {
    const { maxAddedWorkers: limit } = this.#options;
    if (this.#added < limit) return;
    throw new StatorError('overloaded', `Calls made ${limit} workers known already, the most that this router keeps.`, {
      facts: { limit, actual: this.#added },
    });
  }

  #down(instance: Instance, reason: DownReason): void {
    const known = this.#known.get(instance.instanceId);
    if (known === undefined) return;
    if (reason === 'withdrawn' || !known.poll.alive) {
      this.#remove(instance.instanceId);
      return;
    }
    known.discoveryLost = true;
    this.#options.log.warn(
      { worker: instance.instanceId.toString(16), reason },
      'discovery lost a worker that still answers',
    );
    this.#count();
  }

  #loaded(instanceId: bigint, ranks: readonly RankLoad[]): void {
    const loads = this.#known.get(instanceId)?.health.loads;
    if (loads === undefined) return;
    for (const rank of ranks) loads.set(rank.dataParallelRank, reportedLoad(rank));
    this.#options.onLoad(instanceId);
  }

  /** It no longer answers: what discovery said of it, if it was the last word, now holds. */
  #silent(instanceId: bigint): void {
    if (this.#known.get(instanceId)?.discoveryLost === true) this.#remove(instanceId);
  }

  #remove(instanceId: bigint): void {
    const known = this.#known.get(instanceId);
    if (known === undefined) return;
    known.poll.close();
    this.#known.delete(instanceId);
    this.#added -= Number(known.byCall);
    this.#models.remove(instanceId);
    this.#options.onGone(instanceId, this.#slots.slotsOf(instanceId));
    this.#slots.release(instanceId);
    this.#changed(instanceId);
  }

  #countInitial(): void {
    if (this.#isReady || this.#known.size < this.#options.minInitialWorkers) return;
    this.#isReady = true;
    this.#enough.resolve();
  }

  #changed(instanceId: bigint): void {
    this.#countInitial();
    this.#ranks.clear();
    this.#count();
    this.#options.onChange(instanceId);
  }

  #count(): void {
    const lost = [...this.#known.values()].filter(({ discoveryLost }) => discoveryLost).length;
    this.#options.metrics.workers.set({ discovery: 'registered' }, this.#known.size - lost);
    this.#options.metrics.workers.set({ discovery: 'lost' }, lost);
  }
}
