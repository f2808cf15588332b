import type { Overlaps } from '#core/kv-index/kv-index.ts';
import type { ActiveSequences } from '#core/sequences/active-sequences.ts';
import type { SequenceRequest } from '#core/sequences/sequence-request.ts';
import type { CandidateTable } from './candidate-table.ts';

/** Writes what the accounts say of every candidate, and what the request would add. `scratch` is as long as there are slots. */
export function fillLoads(
  candidates: CandidateTable,
  active: ActiveSequences,
  request: Omit<SequenceRequest, 'slot' | 'cachedTokens'>,
  scratch: Uint32Array,
  nowMs: number,
): void {
  const blocks = active.potentialBlocks(request, scratch);
  for (let row = 0; row < candidates.count; row++) {
    const slot = candidates.slot[row] ?? 0;
    candidates.activeRequests[row] = active.activeRequests(slot);
    candidates.activePrefillTokens[row] = active.activePrefillTokens(slot, nowMs);
    candidates.activeBlocks[row] = active.activeBlocks(slot);
    candidates.activeTokens[row] = active.activeTokens(slot);
    candidates.newBlocks[row] = blocks - (scratch[slot] ?? 0);
  }
}

/** Writes how much of the prompt the index found on every candidate. */
export function fillOverlaps(candidates: CandidateTable, overlaps: Overlaps): void {
  for (let row = 0; row < candidates.count; row++) {
    const slot = candidates.slot[row] ?? 0;
    candidates.deviceBlocks[row] = overlaps.device[slot] ?? 0;
    candidates.hostBlocks[row] = overlaps.host[slot] ?? 0;
    candidates.diskBlocks[row] = overlaps.disk[slot] ?? 0;
    candidates.externalBlocks[row] = overlaps.external[slot] ?? 0;
  }
}
