import type { ReplayObserver, ReplayWorker } from '../replay/request-record.ts';
import type { AnswerWorkers } from './answer.ts';

/** Requests whose times are kept for the course of the load. */
const maxIntervals = 1_000_000;
/** Samples of the whole replay. */
const samples = 600;

/**
 * The workers of a live deployment, as answers name them. Who served a request is told when it is over, so the course of the
 * load is worked out at the end.
 */
export class LiveWorkers {
  /** Grows while answers come. */
  readonly list: ReplayWorker[] = [];
  readonly #places = new Map<string, number>();
  readonly #intervals: { readonly worker: number; readonly fromMs: number; readonly toMs: number }[] = [];

  /** Places in `list` of who computed the prompt and who made the output; −1: not told. */
  placesOf(workers: AnswerWorkers | undefined): { readonly prefillWorker: number; readonly worker: number } {
    if (workers === undefined) return { prefillWorker: -1, worker: -1 };
    const apart = workers.prefill !== workers.decode;
    const prefillWorker = this.#place(workers.prefill, apart ? 'prefill' : 'aggregated');
    return { prefillWorker, worker: apart ? this.#place(workers.decode, 'decode') : prefillWorker };
  }

  /** A request was in flight between two times. */
  served(worker: number, fromMs: number, toMs: number): void {
    if (this.#intervals.length < maxIntervals) this.#intervals.push({ worker, fromMs, toMs });
  }

  /** Tells the course of requests in flight, in all and at each worker. Queues are not seen from outside. */
  tell(observer: ReplayObserver, endMs: number): void {
    const running = new Float64Array(this.list.length);
    const unknown = new Float64Array(this.list.length).fill(Number.NaN);
    const changes = this.#intervals
      .flatMap(({ worker, fromMs, toMs }) => [
        { atMs: fromMs, worker, by: 1 },
        { atMs: toMs, worker, by: -1 },
      ])
      .sort((a, b) => a.atMs - b.atMs);
    let next = 0;
    let inFlight = 0;
    let finished = 0;
    for (let sample = 0; sample <= samples; sample++) {
      const atMs = (endMs * sample) / samples;
      for (let change = changes[next]; change !== undefined && change.atMs <= atMs; change = changes[++next]) {
        inFlight += change.by;
        if (change.by < 0) finished++;
        if (change.worker >= 0) running[change.worker] = (running[change.worker] ?? 0) + change.by;
      }
      observer.sample({
        ...{ atMs, queued: Number.NaN, inFlight, finished },
        ...{ promptTokens: Number.NaN, cachedTokens: Number.NaN, outputTokens: Number.NaN },
        ...{ running, waiting: unknown, usedBlocks: unknown },
      });
    }
  }

  #place(id: string, role: ReplayWorker['role']): number {
    const key = `${role} ${id}`;
    let place = this.#places.get(key);
    if (place === undefined) {
      const [instance = id, rank = '0'] = id.split('/');
      const name = `${role === 'aggregated' ? 'worker' : role} ${instance}${rank === '0' ? '' : ` rank ${rank}`}`;
      place = this.list.push({ name, role, ranks: 1, totalBlocks: Number.NaN, blockSize: Number.NaN }) - 1;
      this.#places.set(key, place);
    }
    return place;
  }
}
