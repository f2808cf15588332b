import { IndexedHeap } from '../indexed-heap.ts';
import type { PolicyClass } from './policy-class.ts';
import { goesBefore, type Lane, type Waiting } from './waiting.ts';

/** What waits in a class. */
export interface ClassStats {
  requests: number;
  promptTokens: number;
  cachedTokens: number;
}

/** Lane of requests that found the class full of lanes. Here the first may hold up others. */
const mixedLane = '\0mixed';

/** What waits in one class, in order, so that a request whose own workers are busy holds up nobody else. */
export class ClassQueue<T> {
  readonly policyClass: PolicyClass;
  readonly stats: ClassStats = { requests: 0, promptTokens: 0, cachedTokens: 0 };
  readonly #maxLanes: number;
  readonly #lanes = new Map<string, Lane<T>>();
  readonly #open = new IndexedHeap<Lane<T>>(laneGoesBefore);
  readonly #blocked = new Set<Lane<T>>();

  constructor(policyClass: PolicyClass, maxLanes: number) {
    this.policyClass = policyClass;
    this.#maxLanes = maxLanes;
  }

  add(entry: Waiting<T>): void {
    const lane = this.#laneFor(entry);
    entry.place = { lane, node: lane.entries.push(entry) };
    this.#count(entry, 1);
    if (lane.open !== undefined) this.#open.moved(lane.open);
    else if (!this.#blocked.has(lane)) lane.open = this.#open.push(lane);
  }

  /** A request that has left already stays where it is. */
  remove(entry: Waiting<T>): void {
    if (entry.place === undefined) return;
    const { lane, node } = entry.place;
    entry.place = undefined;
    lane.entries.remove(node);
    this.#count(entry, -1);
    if (lane.entries.size === 0) this.#close(lane);
    else if (lane.open !== undefined) this.#open.moved(lane.open);
  }

  /** Whether requests of this lane wait already. */
  hasLane(lane: string): boolean {
    return this.#lanes.has(lane);
  }

  /** The first that can go. What cannot is not asked about again before `reopen`. */
  next(canGo: (entry: Waiting<T>) => boolean): Waiting<T> | undefined {
    for (let lane = this.#open.peek(); lane !== undefined; lane = this.#open.peek()) {
      const head = lane.entries.peek();
      if (head !== undefined && canGo(head)) return head;
      this.#open.pop();
      lane.open = undefined;
      this.#blocked.add(lane);
    }
    return undefined;
  }

  /** Something changed on workers, or anywhere: lanes that could not go are asked again. */
  reopen(workers?: ReadonlySet<bigint>): void {
    for (const lane of this.#blocked)
      if (workers === undefined || lane.worker === undefined || workers.has(lane.worker)) this.#reopen(lane);
  }

  *entries(): Generator<Waiting<T>> {
    for (const { entries } of this.#lanes.values()) yield* entries.items();
  }

  #laneFor(entry: Waiting<T>): Lane<T> {
    const { lane: wanted, worker } = entry.request;
    const full = this.#lanes.size >= this.#maxLanes && !this.#lanes.has(wanted);
    const key = full ? mixedLane : wanted;
    let lane = this.#lanes.get(key);
    if (lane === undefined) {
      lane = {
        key,
        worker: full ? undefined : worker,
        entries: new IndexedHeap<Waiting<T>>(goesBefore),
        open: undefined,
      };
      this.#lanes.set(key, lane);
    }
    return lane;
  }

  #close(lane: Lane<T>): void {
    this.#lanes.delete(lane.key);
    this.#blocked.delete(lane);
    if (lane.open !== undefined) this.#open.remove(lane.open);
    lane.open = undefined;
  }

  #reopen(lane: Lane<T>): void {
    this.#blocked.delete(lane);
    lane.open = this.#open.push(lane);
  }

  #count({ request, cachedTokens }: Waiting<T>, by: 1 | -1): void {
    this.stats.requests += by;
    this.stats.promptTokens += by * request.promptTokens;
    this.stats.cachedTokens += by * cachedTokens;
  }
}

function laneGoesBefore<T>(a: Lane<T>, b: Lane<T>): boolean {
  const first = a.entries.peek();
  const second = b.entries.peek();
  return first !== undefined && (second === undefined || goesBefore(first, second));
}
