import type { BlockStore } from './block-store.ts';
import { EventLog, type TierChange } from './event-log.ts';
import { none } from './slot-lists.ts';
import { type TierIndex, warmestFirst } from './tiers.ts';

/** Rows that one step of a snapshot tells of. */
const stepRows = 65_536;

/**
 * Everything that is in any tier as stored events, parents before children, in steps so that other work can come between.
 * The call drops the changes that are pending. Blocks that leave later are left out, and their removal is among the later
 * changes, as is what comes: applied after the snapshot they give what is there. Four bytes a block while it runs.
 */
export function snapshot(store: BlockStore): Generator<TierChange[]> {
  store.events.take();
  return steps(
    store,
    warmestFirst.map((tier) => [tier, inChains(store, byPosition(store, tier), tier)]),
  );
}

function* steps(store: BlockStore, rowsOf: readonly (readonly [TierIndex, Uint32Array])[]): Generator<TierChange[]> {
  for (const [tier, rows] of rowsOf)
    for (let from = 0; from < rows.length; from += stepRows)
      yield tell(store, tier, rows.subarray(from, from + stepRows));
}

function tell(store: BlockStore, tier: TierIndex, rows: Uint32Array): TierChange[] {
  const { table } = store;
  const log = new EventLog(rows.length);
  for (const row of rows) {
    if (table.slotOf(row, tier) === none) continue;
    const parent = table.parentOf(row);
    const parentHash = parent === none ? null : table.sequenceHashOf(parent);
    log.stored(tier, table.namespaceOf(row), table.sequenceHashOf(row), parentHash, table.positionOf(row));
  }
  return log.take() ?? [];
}

/** A tier's rows, those nearer to the start of their prompts first (counted, not compared: there may be millions). */
function byPosition(store: BlockStore, tier: TierIndex): Uint32Array {
  const { table } = store;
  const starts: number[] = [];
  let count = 0;
  for (const row of table.rowsIn(tier)) {
    const position = table.positionOf(row);
    while (starts.length <= position) starts.push(0);
    starts[position] = (starts[position] ?? 0) + 1;
    count++;
  }
  let start = 0;
  for (const [position, rows] of starts.entries()) {
    starts[position] = start;
    start += rows;
  }
  const sorted = new Uint32Array(count);
  for (const row of table.rowsIn(tier)) {
    const at = starts[table.positionOf(row)] ?? 0;
    sorted[at] = row;
    starts[table.positionOf(row)] = at + 1;
  }
  return sorted;
}

/** Follows every block with the first of its children, as far as that goes, so that most events tell of many blocks. */
function inChains(store: BlockStore, sorted: Uint32Array, tier: TierIndex): Uint32Array {
  const { table } = store;
  const rows = sorted.reduce((most, row) => Math.max(most, row, table.parentOf(row)), -1) + 1;
  const heirs = new Int32Array(rows).fill(none);
  for (let at = sorted.length - 1; at >= 0; at--) {
    const row = sorted[at] ?? 0;
    const parent = table.parentOf(row);
    if (parent !== none) heirs[parent] = row;
  }
  const chained = new Uint32Array(sorted.length);
  let count = 0;
  for (const first of sorted) {
    const parent = table.parentOf(first);
    const isTold = parent !== none && heirs[parent] === first && table.slotOf(parent, tier) !== none;
    if (isTold) continue;
    for (let row = first; row !== none; row = heirs[row] ?? none) chained[count++] = row;
  }
  return chained;
}
