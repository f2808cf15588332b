import type { CandidateTable } from './candidate-table.ts';

/** Requests on a rank: the router's own count, or what the worker reports where that is higher, because other routers and direct clients place work there too. */
export function requestsOn(candidates: CandidateTable, row: number): number {
  return Math.max(candidates.activeRequests[row] ?? 0, candidates.reportedSequences[row] ?? 0);
}

/**
 * Cost by load: requests in flight first, waiting prompt work as a fraction of one request (so that it only breaks ties),
 * scaled by the candidate's preference. One is added so that a preference tells idle workers apart too.
 */
export function weighLoad(candidates: CandidateTable): void {
  for (let row = 0; row < candidates.count; row++) candidates.costs[row] = loadOf(candidates, row);
}

export function loadOf(candidates: CandidateTable, row: number): number {
  const requests = requestsOn(candidates, row);
  return (1 + requests + pendingPrefill(candidates, row)) * (candidates.preference[row] ?? 1);
}

export function loadTerms(candidates: CandidateTable, row: number): Record<string, number> {
  return {
    active_requests: candidates.activeRequests[row] ?? 0,
    reported_sequences: candidates.reportedSequences[row] ?? 0,
    pending_prefill: pendingPrefill(candidates, row),
    preference: candidates.preference[row] ?? 1,
  };
}

function pendingPrefill(candidates: CandidateTable, row: number): number {
  const tokens = candidates.activePrefillTokens[row] ?? 0;
  return tokens / (tokens + 4096);
}
