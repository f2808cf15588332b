import { none, SlotLists } from '../slot-lists.ts';
import { type EvictionPolicy, priorityLevels } from './policy.ts';

/** The lowest priority first, within it the block that has been unused for longest. */
export function lru(slots: number): EvictionPolicy {
  const lists = new SlotLists(slots);
  return {
    name: 'lru',
    get size() {
      return lists.size;
    },
    get bytes() {
      return lists.bytes;
    },
    used: () => undefined,
    add: (slot, priority) => lists.append(priority, slot),
    remove: (slot) => lists.remove(slot),
    setParent: () => undefined,
    mayGo: (slot) => lists.listOf(slot) !== none,
    victim() {
      for (let priority = 0; priority < priorityLevels; priority++) {
        const slot = lists.first(priority);
        if (slot !== none) return slot;
      }
      return none;
    },
  };
}
