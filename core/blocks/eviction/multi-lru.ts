import { none, SlotLists } from '../slot-lists.ts';
import { type EvictionPolicy, type EvictionPolicyFactory, priorityLevels } from './policy.ts';
import { maxFrequency, TinyLfu } from './tiny-lfu.ts';

export interface MultiLruSettings {
  /** Frequencies from which a block belongs to the next warmer list: ascending, from 1 to 15. */
  readonly thresholds: readonly number[];
  /** Entries of the frequency sketch. */
  readonly sketchEntries: number;
}

const multiLruDefaults: MultiLruSettings = { thresholds: [3, 8, 15], sketchEntries: 2 ** 21 };

/**
 * The lowest priority first; within it lists by estimated frequency, the coldest first; within a list the block that has
 * been unused for longest. Throws RangeError for thresholds that are not strictly ascending from 1 to 15.
 */
export function multiLru(settings: Partial<MultiLruSettings> = {}): EvictionPolicyFactory {
  const { thresholds, sketchEntries } = { ...multiLruDefaults, ...settings };
  checkThresholds(thresholds);
  const levels = thresholds.length + 1;
  return (slots) => create(new SlotLists(slots), new TinyLfu(sketchEntries), thresholds, levels);
}

function create(lists: SlotLists, sketch: TinyLfu, thresholds: readonly number[], levels: number): EvictionPolicy {
  return {
    name: 'multi-lru',
    get size() {
      return lists.size;
    },
    get bytes() {
      return lists.bytes + sketch.bytes;
    },
    used: (low, high) => sketch.increment(low, high),
    add(slot, priority, low, high) {
      const frequency = sketch.estimate(low, high);
      let level = 0;
      while (level < thresholds.length && frequency >= (thresholds[level] ?? 0)) level++;
      lists.append(priority * levels + level, slot);
    },
    remove: (slot) => lists.remove(slot),
    setParent: () => undefined,
    mayGo: (slot) => lists.listOf(slot) !== none,
    victim() {
      for (let list = 0; list < priorityLevels * levels; list++) {
        const slot = lists.first(list);
        if (slot !== none) return slot;
      }
      return none;
    },
  };
}

function checkThresholds(thresholds: readonly number[]): void {
  for (const [index, threshold] of thresholds.entries()) {
    const least = (thresholds[index - 1] ?? 0) + 1;
    if (!Number.isInteger(threshold) || threshold < least || threshold > maxFrequency)
      throw new RangeError(`thresholds[${index}] ${threshold} is not from ${least} to ${maxFrequency}`);
  }
}
