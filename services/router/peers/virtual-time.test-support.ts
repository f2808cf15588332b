import type { PeerClock } from './ports.ts';

/** A small generator that repeats (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Task {
  atMs: number;
  readonly order: number;
  readonly run: () => void;
  off: boolean;
}

/** Virtual time: what is due runs in its order, at once. */
export class World {
  readonly random: () => number;
  nowMs = 0;
  ran = 0;
  /** Called after everything that ran. */
  check: () => void = () => {};
  #order = 0;
  readonly #heap: Task[] = [];

  constructor(seed: number) {
    this.random = seeded(seed);
  }

  below(limit: number): number {
    return Math.floor(this.random() * limit);
  }

  chance(probability: number): boolean {
    return this.random() < probability;
  }

  pick<T>(all: readonly T[]): T {
    const found = all[this.below(all.length)];
    if (found === undefined) throw new Error('nothing to pick from');
    return found;
  }

  after(ms: number, run: () => void): Task {
    const task = { atMs: this.nowMs + Math.max(0, ms), order: this.#order++, run, off: false };
    this.#push(task);
    return task;
  }

  runUntil(untilMs: number): void {
    for (let task = this.#heap[0]; task !== undefined && task.atMs <= untilMs; task = this.#heap[0]) {
      this.#pop();
      if (task.off) continue;
      this.nowMs = task.atMs;
      task.run();
      this.ran++;
      this.check();
    }
    this.nowMs = untilMs;
  }

  #push(task: Task): void {
    const heap = this.#heap;
    let at = heap.push(task) - 1;
    while (at > 0) {
      const up = (at - 1) >> 1;
      const parent = heap[up];
      if (parent === undefined || isBefore(parent, task)) break;
      heap[at] = parent;
      at = up;
    }
    heap[at] = task;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      const right = heap[down + 1];
      const left = heap[down];
      if (left === undefined) break;
      if (right !== undefined && isBefore(right, left)) down++;
      const child = heap[down];
      if (child === undefined || isBefore(last, child)) break;
      heap[at] = child;
      at = down;
    }
    heap[at] = last;
  }
}

function isBefore(a: Task, b: Task): boolean {
  return a.atMs === b.atMs ? a.order < b.order : a.atMs < b.atMs;
}

interface Timer {
  dueMs: number;
  task: Task;
}

/** A machine's clock, which may jump ahead, as after the sleep of a virtual machine. Stops for good with its process. */
export class SimulatedClock implements PeerClock {
  readonly #world: World;
  readonly #timers = new Set<Timer>();
  #aheadMs = 0;
  #stopped = false;

  constructor(world: World) {
    this.#world = world;
  }

  nowMs(): number {
    return this.#world.nowMs + this.#aheadMs;
  }

  after(ms: number, run: () => void): () => void {
    const timer: Timer = {
      dueMs: this.nowMs() + ms,
      task: this.#world.after(ms, () => {
        this.#timers.delete(timer);
        if (!this.#stopped) run();
      }),
    };
    this.#timers.add(timer);
    return () => {
      timer.task.off = true;
      this.#timers.delete(timer);
    };
  }

  jump(ms: number): void {
    this.#aheadMs += ms;
    for (const timer of this.#timers) {
      timer.task.off = true;
      timer.task = this.#world.after(timer.dueMs - this.nowMs(), timer.task.run);
    }
  }

  stop(): void {
    this.#stopped = true;
    for (const { task } of this.#timers) task.off = true;
    this.#timers.clear();
  }
}
