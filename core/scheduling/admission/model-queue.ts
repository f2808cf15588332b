import { ClassQueue, type ClassStats } from './class-queue.ts';
import { DeficitRoundRobin } from './deficit-round-robin.ts';
import type { PolicyClass, PolicyProfile } from './policy-class.ts';
import { goesBefore, type Waiting } from './waiting.ts';

/** Whether a worker that may serve the request accepts more, by the thresholds of its class. */
export type CanGo<T> = (entry: Waiting<T>, policyClass: PolicyClass) => boolean;

/** Where a request stands. */
export interface QueuePosition {
  readonly policyClass: string;
  /** Requests of its class that go before it. Those that wait for other workers count too. */
  readonly ahead: number;
  /** Prompt tokens of these. */
  readonly promptTokensAhead: number;
  /** Requests of its class that wait. */
  readonly waiting: number;
}

/** What waits in a class and the tokens that it may place before its next quantum. */
export interface ClassStanding extends Readonly<ClassStats> {
  readonly policyClass: string;
  readonly deficitTokens: number;
}

/** What waits for the workers of one model: classes that share them by deficit round robin. */
export class ModelQueue<T> {
  readonly profile: PolicyProfile;
  readonly #classes: readonly ClassQueue<T>[];
  readonly #robin: DeficitRoundRobin;
  #size = 0;

  constructor(profile: PolicyProfile, maxLanes: number) {
    this.profile = profile;
    this.#classes = profile.classes.map((policyClass) => new ClassQueue<T>(policyClass, maxLanes));
    this.#robin = new DeficitRoundRobin(profile.classes.map(({ quantum }) => quantum));
  }

  get size(): number {
    return this.#size;
  }

  waitingIn(classIndex: number): number {
    return this.#classes[classIndex]?.stats.requests ?? 0;
  }

  hasLane(classIndex: number, lane: string): boolean {
    return this.#classes[classIndex]?.hasLane(lane) ?? false;
  }

  statsOf(classIndex: number): Readonly<ClassStats> | undefined {
    return this.#classes[classIndex]?.stats;
  }

  add(entry: Waiting<T>): void {
    this.#classes[entry.picked.index]?.add(entry);
    this.#size++;
  }

  remove(entry: Waiting<T>): void {
    const queue = this.#classes[entry.picked.index];
    if (queue === undefined || entry.place === undefined) return;
    queue.remove(entry);
    this.#size--;
    if (queue.stats.requests === 0) this.#robin.reset(entry.picked.index);
  }

  /** Takes out the request that goes next; undefined: none can go. */
  takeNext(canGo: CanGo<T>): Waiting<T> | undefined {
    if (this.#size === 0) return undefined;
    const heads = new Map<number, Waiting<T>>();
    const index = this.#robin.next((classIndex) => {
      const queue = this.#classes[classIndex];
      const head = queue?.next((entry) => canGo(entry, queue.policyClass));
      if (head !== undefined) heads.set(classIndex, head);
      return head?.cost;
    });
    const entry = index === undefined ? undefined : heads.get(index);
    if (index === undefined || entry === undefined) return undefined;
    this.#classes[index]?.remove(entry);
    this.#size--;
    this.#robin.spend(index, entry.cost, this.waitingIn(index) === 0);
    return entry;
  }

  /** Requests that could not go are asked again: those that may use one of the workers, or all. */
  reopen(workers?: ReadonlySet<bigint>): void {
    for (const queue of this.#classes) queue.reopen(workers);
  }

  /** Where a request stands, or would stand if it were added. Takes time in proportion to the class. */
  position(entry: Waiting<T>): QueuePosition {
    const queue = this.#classes[entry.picked.index];
    let ahead = 0;
    let promptTokensAhead = 0;
    for (const other of queue?.entries() ?? []) {
      if (other === entry || !goesBefore(other, entry)) continue;
      ahead++;
      promptTokensAhead += other.request.promptTokens;
    }
    return {
      policyClass: queue?.policyClass.name ?? '',
      ahead,
      promptTokensAhead,
      waiting: this.waitingIn(entry.picked.index),
    };
  }

  standings(): ClassStanding[] {
    return this.#classes.map(({ policyClass, stats }, index) => ({
      policyClass: policyClass.name,
      ...stats,
      deficitTokens: this.#robin.deficitOf(index),
    }));
  }
}
