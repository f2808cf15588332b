import type { HeapNode, IndexedHeap } from '../indexed-heap.ts';
import type { PickedClass, QueuePolicy } from './policy-class.ts';

/** A request that asks to be placed. Times are monotonic milliseconds of one clock. */
export interface AdmissionRequest<T> {
  /** Whose end removes it: a gateway's stream. */
  readonly owner: string;
  /** Unique within its owner. */
  readonly requestId: string;
  readonly model: string;
  readonly payload: T;
  readonly promptTokens: number;
  /** Class or family asked for. Empty: by the profile's rules. */
  readonly policyClass: string;
  /** When it arrived, for its place in the order. Unset: now. It cannot lie in the future. */
  readonly arrivedMs?: number | undefined;
  /** Seconds (fcfs, lcfs) or weight (wspt) by which it goes earlier; negative counts as 0. */
  readonly priority: number;
  /** A higher one goes first in its class, whatever the policy says. */
  readonly strictPriority: number;
  /** Same text, same workers: requests of one lane may be served by exactly the same workers. Empty: by all. */
  readonly lane: string;
  /** The only worker that may serve it, if its lane is such a lane. */
  readonly worker?: bigint | undefined;
  /** Milliseconds that it may wait. 0: any time. */
  readonly timeoutMs: number;
  /** Time by which it must be placed; such requests go before others, the earliest first. */
  readonly deadlineMs?: number | undefined;
}

/** A request in the queue. */
export interface Waiting<T> {
  readonly request: AdmissionRequest<T>;
  readonly picked: PickedClass;
  readonly sequence: number;
  readonly score: number;
  /** When it began to wait. */
  readonly sinceMs: number;
  readonly cachedTokens: number;
  /** Tokens that its class pays for it, at least 1. */
  readonly cost: number;
  /** When it leaves the queue unserved. Infinity: never. */
  readonly expiresMs: number;
  /** Its lane and place there. Unset: it has left the queue. */
  place: { readonly lane: Lane<T>; readonly node: HeapNode<Waiting<T>> } | undefined;
  /** Its place among those that can expire. */
  expiry: HeapNode<Waiting<T>> | undefined;
}

/** Requests that the same workers may serve: if the first cannot go, none can. */
export interface Lane<T> {
  readonly key: string;
  /** The only worker of the lane, if it has only one. */
  readonly worker: bigint | undefined;
  readonly entries: IndexedHeap<Waiting<T>>;
  /** Its place among the lanes that may go; undefined: all its workers were busy when last asked. */
  open: HeapNode<Lane<T>> | undefined;
}

/** The policy's number for a request; a higher one goes first. `cost` is its uncached prompt tokens, at least 1. */
export function policyScore(policy: QueuePolicy, priority: number, arrivedMs: number, cost: number): number {
  const jump = Number.isFinite(priority) ? Math.max(0, priority) : 0;
  switch (policy) {
    case 'fcfs':
      return jump - arrivedMs / 1000;
    case 'lcfs':
      return jump + arrivedMs / 1000;
    case 'wspt':
      return (1 + jump) / cost;
  }
}

/** Order within a class: strict priority, earliest deadline, score, arrival. */
export function goesBefore<T>(a: Waiting<T>, b: Waiting<T>): boolean {
  const strict = a.request.strictPriority - b.request.strictPriority;
  if (strict !== 0) return strict > 0;
  const aDeadline = a.request.deadlineMs ?? Infinity;
  const bDeadline = b.request.deadlineMs ?? Infinity;
  if (aDeadline !== bDeadline) return aDeadline < bDeadline;
  if (a.score !== b.score) return a.score > b.score;
  return a.sequence < b.sequence;
}
