/** Priorities are whole numbers from 0 to below this; blocks of a lower one go first. */
export const priorityLevels = 16;

/**
 * Which block of an arena goes next. A policy knows only the slots that may go: registered, and read by nobody. Whoever
 * owns the slots tells it of every change; it never decides that a pinned block goes, because it is not told of it.
 */
export interface EvictionPolicy {
  readonly name: string;
  /** Slots that it holds, whether or not each may go at this moment. */
  readonly size: number;
  /** Memory of its columns. */
  readonly bytes: number;
  /** A block was stored or found; the two words are of its digest. */
  used(low: number, high: number): void;
  /** A slot may go from now on, after those that were added before, all else equal. It must not be in the policy. */
  add(slot: number, priority: number, low: number, high: number): void;
  /** The slot is pinned again or empty. False when it is not in the policy. */
  remove(slot: number): boolean;
  /** Whether blocks that go on from the slot's block are in the same arena; told for every registered slot. */
  setParent(slot: number, hasChildren: boolean): void;
  /** Whether this slot may go at this moment. */
  mayGo(slot: number): boolean;
  /** The slot that goes next, still in the policy; -1 when none may. */
  victim(): number;
}

/** Makes the policy of an arena. */
export type EvictionPolicyFactory = (slots: number) => EvictionPolicy;
