import type { ModelSet } from '#core/models/model-sets.ts';
import { invalidOverride } from '#core/routing/cost-settings.ts';
import type { CostOverrides, RoutedPrompt } from '#core/routing/policy.ts';
import type { SequenceRequest } from '#core/sequences/sequence-request.ts';
import { WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import type { RouteRequest } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';

/** A request's prompt as decisions and accounts see it. */
export interface RequestedPrompt extends RoutedPrompt {
  /** Packed sequence hashes. */
  readonly hashes: Uint8Array;
}

export function promptOf(request: RouteRequest, set: ModelSet): RequestedPrompt {
  const own = set.card.limits?.kvBlockSize ?? 0;
  const blockSize = own || request.kvBlockSize || 1;
  const { promptTokens, constraints, overrides, computesPrompt } = request;
  return {
    promptTokens,
    blockSize,
    blocks: Math.floor(promptTokens / blockSize),
    hashes: request.sequenceHashes,
    ...(constraints?.role === WorkerRole.DECODE && !computesPrompt ? { stage: 'decode' as const } : {}),
    ...(overrides === undefined ? {} : { overrides: checkedOverrides(overrides) }),
  };
}

function checkedOverrides(overrides: NonNullable<RouteRequest['overrides']>): CostOverrides {
  const { overlapCredit, prefillLoadScale, temperature, trackPrefillTokens } = overrides;
  const checked = { overlapCredit, prefillLoadScale, temperature, trackPrefillTokens };
  const wrong = invalidOverride(checked);
  if (wrong === null) return checked;
  const field = wrong.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  throw StatorError.invalid(`overrides.${field}`, 'A finite number of at least 0 is expected.');
}

/** How prompts count in the accounts unless a request says otherwise. */
export interface AccountDefaults {
  /** Whether blocks are shared with those of other requests that have the same prefix. */
  readonly assumeKvReuse: boolean;
  /** Whether prompts count as work to prefill. */
  readonly trackPrefillTokens: boolean;
}

/** What the accounts hold for the request on whichever rank it is placed. */
export function sequenceOf(
  request: RouteRequest,
  prompt: RequestedPrompt,
  defaults: AccountDefaults,
): Omit<SequenceRequest, 'slot' | 'cachedTokens'> {
  const { overrides, expectedOutputTokens, sequences } = request;
  const decode = prompt.stage === 'decode';
  return {
    blockSize: prompt.blockSize,
    promptTokens: prompt.promptTokens,
    sequenceHashes: prompt.hashes,
    sequences: Math.max(1, sequences),
    expectedOutputTokens,
    assumeKvReuse: overrides?.assumeKvReuse ?? (!decode && defaults.assumeKvReuse),
    trackPrefillTokens: overrides?.trackPrefillTokens ?? (!decode && defaults.trackPrefillTokens),
  };
}
