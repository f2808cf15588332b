import { type HeapNode, IndexedHeap } from '#core/scheduling/indexed-heap.ts';

interface Task {
  atMs: number;
  order: number;
  readonly run: () => void;
}

/** Runs one thing at a time that may be set again and again; cheaper than a new event for each. */
export interface VirtualTimer {
  /** Sets or moves it. A time that has passed means now. */
  set(atMs: number): void;
  clear(): void;
}

/**
 * Virtual time: what is due runs at once, in the order of its times and, where these are equal, in the order in which it was
 * set. Nothing takes time by itself.
 */
export class VirtualClock {
  readonly #heap = new IndexedHeap<Task>((a, b) => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order));
  #nowMs = 0;
  #order = 0;
  #ran = 0;

  get nowMs(): number {
    return this.#nowMs;
  }

  /** Events that ran. */
  get ran(): number {
    return this.#ran;
  }

  /** When the next event is due; Infinity: there is none. */
  get nextMs(): number {
    return this.#heap.peek()?.atMs ?? Infinity;
  }

  /** Calls once after a time; returns how to call it off. */
  after(ms: number, run: () => void): () => void {
    const node = this.#heap.push({ atMs: this.#nowMs + Math.max(0, ms), order: this.#order++, run });
    return () => {
      this.#heap.remove(node);
    };
  }

  timer(run: () => void): VirtualTimer {
    const task: Task = { atMs: 0, order: 0, run };
    let node: HeapNode<Task> = { item: task, at: -1 };
    return {
      set: (atMs) => {
        task.atMs = Math.max(atMs, this.#nowMs);
        task.order = this.#order++;
        if (node.at < 0) node = this.#heap.push(task);
        else this.#heap.moved(node);
      },
      clear: () => {
        this.#heap.remove(node);
      },
    };
  }

  /** Runs the next event; false: there is none. */
  runNext(): boolean {
    const task = this.#heap.pop();
    if (task === undefined) return false;
    this.#nowMs = task.atMs;
    this.#ran++;
    task.run();
    return true;
  }
}
