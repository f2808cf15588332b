import { SlotHeap } from '../slot-heap.ts';
import { type EvictionPolicy, priorityLevels } from './policy.ts';

/** Ticks that fit below the priority in a double: enough for a million a second over 285 years. */
const ticks = (Number.MAX_SAFE_INTEGER + 1) / priorityLevels;

/**
 * Leaves before the blocks that they go on from, so that no block stays that nothing can reach; among leaves the lowest
 * priority first, then the one unused for longest. A block with children stays whatever its priority is.
 */
export function lineage(slots: number): EvictionPolicy {
  const leaves = new SlotHeap(slots);
  const keys = new Float64Array(slots).fill(-1);
  const parents = new Uint8Array(slots);
  let tick = 0;
  let size = 0;
  return {
    name: 'lineage',
    get size() {
      return size;
    },
    get bytes() {
      return leaves.bytes + keys.byteLength + parents.byteLength;
    },
    used: () => undefined,
    add(slot, priority) {
      const key = priority * ticks + tick++;
      keys[slot] = key;
      size++;
      if (parents[slot] === 0) leaves.add(slot, key);
    },
    remove(slot) {
      if (keys[slot] === -1) return false;
      keys[slot] = -1;
      size--;
      leaves.remove(slot);
      return true;
    },
    setParent(slot, hasChildren) {
      parents[slot] = hasChildren ? 1 : 0;
      const key = keys[slot] ?? -1;
      if (key === -1) return;
      if (hasChildren) leaves.remove(slot);
      else if (!leaves.has(slot)) leaves.add(slot, key);
    },
    mayGo: (slot) => leaves.has(slot),
    victim: () => leaves.first(),
  };
}
