import { nowhere } from '../reading.ts';

/** Number of the source after the tiers: another node. */
export const peerSource = 3;

/** How long a source takes: `latencyMs` before the first block, then `blockMs` for each. */
export interface SourceCost {
  readonly latencyMs: number;
  readonly blockMs: number;
}

/** Consecutive blocks from one source. */
export interface Segment {
  /** Tier index, or `peerSource`. */
  readonly source: number;
  /** Index of the first block in the column that was asked for. */
  readonly from: number;
  readonly count: number;
}

export interface OnboardPlan {
  /** Blocks to load: the first ones of the prompt's match. The engine computes what follows. */
  readonly blocks: number;
  /** In the order of the prompt. Sources work beside each other, each through its segments in this order. */
  readonly segments: readonly Segment[];
  /** Until everything is loaded and the rest of the prompt is computed, against computing it all. */
  readonly expectedMs: number;
  readonly recomputeMs: number;
}

/**
 * What to load for a prompt: of all lengths the one with which loading and then computing the rest is soonest done; of
 * equals the shortest. `sources` holds the source of each block, `nowhere` ends it; `totalBlocks` is the prompt's length.
 */
export function planOnboarding(
  sources: Uint8Array,
  totalBlocks: number,
  costs: readonly (SourceCost | undefined)[],
  recomputeBlockMs: number,
): OnboardPlan {
  const recomputeMs = totalBlocks * recomputeBlockMs;
  const loadedMs = new Map<number, number>();
  let slowestMs = 0;
  let expectedMs = recomputeMs;
  let blocks = 0;
  for (const [block, source] of sources.entries()) {
    const cost = costs[source];
    if (source === nowhere || cost === undefined) break;
    const readyMs = (loadedMs.get(source) ?? cost.latencyMs) + cost.blockMs;
    loadedMs.set(source, readyMs);
    slowestMs = Math.max(slowestMs, readyMs);
    const totalMs = slowestMs + (totalBlocks - block - 1) * recomputeBlockMs;
    if (totalMs >= expectedMs) continue;
    expectedMs = totalMs;
    blocks = block + 1;
  }
  return { blocks, segments: segmentsOf(sources.subarray(0, blocks)), expectedMs, recomputeMs };
}

function segmentsOf(sources: Uint8Array): Segment[] {
  const segments: Segment[] = [];
  for (let from = 0, to = 1; from < sources.length; to++) {
    if (to < sources.length && sources[to] === sources[from]) continue;
    segments.push({ source: sources[from] ?? nowhere, from, count: to - from });
    from = to;
  }
  return segments;
}
