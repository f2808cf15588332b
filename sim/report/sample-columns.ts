import type { ClusterSample } from '../replay/request-record.ts';

/** One sample, or the mean of several that lie side by side. */
export interface KeptSample {
  atMs: number;
  queued: number;
  inFlight: number;
  running: Float64Array;
  waiting: Float64Array;
  usedBlocks: Float64Array;
}

/** Samples over time in bounded memory: when full, neighbours become their mean and from then on every second sample counts. */
export class SampleColumns {
  readonly kept: KeptSample[] = [];
  readonly #maxSamples: number;
  /** Samples that one kept sample stands for. */
  #stride = 1;
  #pending = 0;

  constructor(maxSamples = 2048) {
    this.#maxSamples = maxSamples;
  }

  add(sample: ClusterSample): void {
    const last = this.kept.at(-1);
    if (this.#pending > 0 && last !== undefined) {
      this.#pending++;
      blend(last, sample, 1 / this.#pending);
    } else {
      if (this.kept.length >= this.#maxSamples) this.#halve();
      this.kept.push(copyOf(sample));
      this.#pending = 1;
    }
    if (this.#pending >= this.#stride) this.#pending = 0;
  }

  #halve(): void {
    let rows = 0;
    for (let at = 0; at < this.kept.length; at += 2) {
      const first = this.kept[at];
      const second = this.kept[at + 1];
      if (first === undefined) continue;
      if (second !== undefined) blend(first, second, 0.5);
      this.kept[rows++] = first;
    }
    this.kept.length = rows;
    this.#stride *= 2;
  }
}

function copyOf({ atMs, queued, inFlight, running, waiting, usedBlocks }: KeptSample | ClusterSample): KeptSample {
  return { atMs, queued, inFlight, running: running.slice(), waiting: waiting.slice(), usedBlocks: usedBlocks.slice() };
}

/** Moves `into` towards `from` by a share of their distance. */
function blend(into: KeptSample, from: KeptSample | ClusterSample, share: number): void {
  into.atMs += (from.atMs - into.atMs) * share;
  into.queued += (from.queued - into.queued) * share;
  into.inFlight += (from.inFlight - into.inFlight) * share;
  into.running = blended(into.running, from.running, share);
  into.waiting = blended(into.waiting, from.waiting, share);
  into.usedBlocks = blended(into.usedBlocks, from.usedBlocks, share);
}

/** A worker that joined later had no load before. */
function blended(into: Float64Array, from: Float64Array, share: number): Float64Array {
  let to = into;
  if (from.length > into.length) {
    to = new Float64Array(from.length);
    to.set(into);
  }
  for (let at = 0; at < to.length; at++) {
    const before = to[at] ?? 0;
    to[at] = before + ((from[at] ?? 0) - before) * share;
  }
  return to;
}

/** Sequences that run or wait at a worker; where waiting ones are not known, those that run. */
export function loadOf({ running, waiting }: KeptSample, worker: number): number {
  const waits = waiting[worker] ?? 0;
  return (running[worker] ?? 0) + (Number.isNaN(waits) ? 0 : waits);
}
