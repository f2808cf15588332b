import type { Candidate, Cost } from './policy.ts';

/**
 * Cost by load: requests in flight first, waiting prompt work as a fraction of one request (so that it only breaks ties),
 * scaled by the candidate's preference. The router's own count leads; what the worker reports counts where it is higher,
 * because other routers and direct clients place work there too.
 */
export function loadCost(candidate: Candidate): Cost {
  const { activeRequests, reportedSequences, activePrefillTokens, preference } = candidate;
  const requests = Math.max(activeRequests, reportedSequences);
  const prefill = activePrefillTokens / (activePrefillTokens + 4096);
  // One is added so that a preference tells idle workers apart too.
  return {
    cost: (1 + requests + prefill) * preference,
    terms: {
      active_requests: activeRequests,
      reported_sequences: reportedSequences,
      pending_prefill: prefill,
      preference,
    },
  };
}

/** Index of the smallest cost; ties are broken uniformly at random by reservoir sampling. */
export function cheapest(costs: readonly Cost[], random: () => number): number {
  let best = 0;
  let ties = 0;
  for (const [index, { cost }] of costs.entries()) {
    const smallest = costs[best]?.cost ?? Infinity;
    if (cost < smallest) {
      best = index;
      ties = 1;
    } else if (cost === smallest) {
      ties++;
      if (random() * ties < 1) best = index;
    }
  }
  return best;
}
