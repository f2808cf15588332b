import type { OnboardPlan, Segment } from './plan.ts';

export interface OnboardingLimits {
  /** Blocks of one load at most. */
  readonly maxLoad: number;
  /** Blocks that are asked for and not handed to the engine yet, at most: staging memory. */
  readonly window: number;
  /** Loads under way per source at most. */
  readonly loadsPerSource: number;
  /** When the engine stops waiting and computes what is not there. */
  readonly deadlineMs: number;
}

interface Load extends Segment {
  state: 'planned' | 'loading' | 'loaded';
}

/**
 * The course of one onboarding: later blocks are fetched while earlier ones load, within a window, and handed over in the
 * order of the prompt. A block that fails or is late ends it there: what comes before is used, the rest is computed.
 * Nothing is waited for beyond the deadline, and every load that was begun must be reported, also after the end.
 */
export class Onboarding {
  readonly #loads: Load[];
  readonly #limits: OnboardingLimits;
  #end: number;
  #handed = 0;

  constructor(plan: OnboardPlan, limits: OnboardingLimits) {
    this.#limits = limits;
    this.#end = plan.blocks;
    const size = Math.max(1, Math.min(limits.maxLoad, limits.window));
    this.#loads = plan.segments.flatMap((segment) => split(segment, size));
  }

  /** Blocks that can still come to the engine. */
  get blocks(): number {
    return this.#end;
  }

  /** Loads whose end was not reported: their staging memory is still written to. */
  get loading(): number {
    return this.#loads.filter(({ state }) => state === 'loading').length;
  }

  /** Whether the engine has everything that it will get. */
  get isDone(): boolean {
    return this.#handed >= this.#end;
  }

  /** Loads to begin now, in the order of the prompt. */
  begin(nowMs: number): Segment[] {
    this.expire(nowMs);
    const begun: Segment[] = [];
    for (const load of this.#loads) {
      if (load.from + load.count > this.#handed + this.#limits.window || load.from >= this.#end) break;
      if (load.state !== 'planned' || this.#loadingFrom(load.source) >= this.#limits.loadsPerSource) continue;
      load.state = 'loading';
      begun.push({ source: load.source, from: load.from, count: load.count });
    }
    return begun;
  }

  /** A load ended: `sound` of its blocks, from its first on, are there and verified. */
  finish(from: number, sound: number): void {
    const load = this.#loads.find((one) => one.from === from && one.state === 'loading');
    if (load === undefined) throw new RangeError(`no load from block ${from} is under way`);
    load.state = 'loaded';
    if (sound < load.count) this.#end = Math.min(this.#end, load.from + sound);
  }

  /** The next blocks for the engine, in order; null when none is ready. They leave the window. */
  hand(): { readonly from: number; readonly count: number } | null {
    const from = this.#handed;
    const gap = this.#loads.find(({ state }) => state !== 'loaded');
    const ready = Math.min(this.#end, gap?.from ?? this.#end);
    if (ready <= from) return null;
    this.#handed = ready;
    return { from, count: ready - from };
  }

  /** At the deadline whatever is not loaded is given up. */
  expire(nowMs: number): void {
    if (nowMs < this.#limits.deadlineMs) return;
    const gap = this.#loads.find(({ state }) => state !== 'loaded');
    this.#end = Math.min(this.#end, Math.max(this.#handed, gap?.from ?? this.#end));
  }

  /** The request is gone: nothing more is begun or handed over. */
  cancel(): void {
    this.#end = this.#handed;
  }

  #loadingFrom(source: number): number {
    return this.#loads.filter((load) => load.source === source && load.state === 'loading').length;
  }
}

function split({ source, from, count }: Segment, size: number): Load[] {
  return Array.from({ length: Math.ceil(count / size) }, (_, part) => ({
    source,
    from: from + part * size,
    count: Math.min(size, count - part * size),
    state: 'planned',
  }));
}
