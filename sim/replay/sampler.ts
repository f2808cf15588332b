import type { Cluster } from '../cluster/cluster.ts';
import type { ReplayObserver, RequestRecord } from './request-record.ts';

/** Looks at a whole cluster now and then, and keeps the sums over its requests. */
export class Sampler {
  readonly #cluster: Cluster;
  readonly #observer: ReplayObserver;
  readonly #running: Float64Array;
  readonly #waiting: Float64Array;
  readonly #usedBlocks: Float64Array;
  #finished = 0;
  #promptTokens = 0;
  #cachedTokens = 0;
  #outputTokens = 0;

  constructor(cluster: Cluster, observer: ReplayObserver) {
    this.#cluster = cluster;
    this.#observer = observer;
    const workers = cluster.workers.length;
    this.#running = new Float64Array(workers);
    this.#waiting = new Float64Array(workers);
    this.#usedBlocks = new Float64Array(workers);
  }

  /** Requests that are over. */
  get finished(): number {
    return this.#finished;
  }

  over({ promptTokens, cachedTokens, outputTokens, outcome }: RequestRecord): void {
    this.#finished++;
    if (outcome !== 0) return;
    this.#promptTokens += promptTokens;
    this.#cachedTokens += cachedTokens;
    this.#outputTokens += outputTokens;
  }

  sample(atMs: number): void {
    const { workers, router, inFlight } = this.#cluster;
    for (const [at, worker] of workers.entries()) {
      worker.sync();
      let running = 0;
      let waiting = 0;
      let usedBlocks = 0;
      for (const { load } of worker.ranks) {
        running += load.running;
        waiting += load.waiting;
        usedBlocks += load.activeBlocks;
      }
      this.#running[at] = running;
      this.#waiting[at] = waiting;
      this.#usedBlocks[at] = usedBlocks;
    }
    this.#observer.sample({
      atMs,
      queued: router.queued,
      inFlight,
      finished: this.#finished,
      promptTokens: this.#promptTokens,
      cachedTokens: this.#cachedTokens,
      outputTokens: this.#outputTokens,
      running: this.#running,
      waiting: this.#waiting,
      usedBlocks: this.#usedBlocks,
    });
  }
}
