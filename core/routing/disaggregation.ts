/** When a decode worker computes a prompt itself although there are prefill workers. */
export type DisaggregationPolicy = 'isl_bounding' | 'prefill_load' | 'isl_or_load' | 'local_length';

export const disaggregationPolicies: readonly DisaggregationPolicy[] = [
  'isl_bounding',
  'prefill_load',
  'isl_or_load',
  'local_length',
];

export interface DisaggregationSettings {
  readonly policy: DisaggregationPolicy;
  /** Prompt tokens beyond what the decode worker has cached, from which on they are too many for it. */
  readonly effIslThreshold: number;
  /** The same as a part of the prompt. */
  readonly effIslRatioThreshold: number;
  /** Waiting prompt tokens of a prefill worker, in passes, above which it is busy; null: it never is. */
  readonly prefillBusyThreshold: number | null;
  /** Part of the KV blocks of a decode worker above which it computes no prompts; null: it may always. */
  readonly decodeBusyThreshold: number | null;
  /** Policy local_length: tokens up to which the decode worker computes them. */
  readonly maxLocalPrefillLength: number;
  /** Policy local_length: requests at prefill workers from which on it computes longer ones too. */
  readonly maxPrefillQueueSize: number;
}

export const defaultDisaggregation: DisaggregationSettings = {
  policy: 'isl_bounding',
  effIslThreshold: 2048,
  effIslRatioThreshold: 0.7,
  prefillBusyThreshold: null,
  decodeBusyThreshold: null,
  maxLocalPrefillLength: 1000,
  maxPrefillQueueSize: 2,
};

/** What a decision looks at: the two workers that would be chosen. */
export interface DisaggregationInput {
  readonly promptTokens: number;
  readonly decode: {
    /** Tokens of the prompt that it has cached, those of slower tiers in part. */
    readonly cachedTokens: number;
    /** KV blocks that it would hold with the request, and has; 0: it does not tell. */
    readonly blocks: number;
    readonly totalBlocks: number;
  };
  /** null: all are too busy to be given anything. */
  readonly prefill: {
    readonly activeTokens: number;
    /** Most tokens of one pass; 0: not told, ten million is assumed. */
    readonly maxBatchedTokens: number;
  } | null;
  /** Requests that wait for or are with prefill workers. */
  readonly prefillQueue: number;
}

export interface DisaggregationVerdict {
  /** Whether a prefill worker computes the prompt. */
  readonly remote: boolean;
  readonly reason: 'short' | 'mostly_cached' | 'prefill_busy' | 'long' | 'mostly_new' | 'prefill_free' | 'decode_busy';
  /** Prompt tokens that the decode worker would have to compute. */
  readonly netNewTokens: number;
}

const assumedBatchedTokens = 10_000_000;

/**
 * Who computes a prompt. `isl_bounding`: the decode worker, if little is new to it, in tokens and as a part of the prompt.
 * `prefill_load`: the decode worker, if the prefill worker is busy. `isl_or_load`: either. `local_length` is Dynamo's first
 * rule: the decode worker, if little is new to it or too much waits for prefill. In each case not a busy decode worker.
 */
export function judgeDisaggregation(
  input: DisaggregationInput,
  settings: DisaggregationSettings,
): DisaggregationVerdict {
  const netNewTokens = Math.max(0, input.promptTokens - input.decode.cachedTokens);
  const verdict = { ...wanted(input, netNewTokens, settings), netNewTokens };
  const vetoed = !verdict.remote && isDecodeBusy(input.decode, settings.decodeBusyThreshold);
  return vetoed ? { remote: true, reason: 'decode_busy', netNewTokens } : verdict;
}

type Wanted = Omit<DisaggregationVerdict, 'netNewTokens'>;

function wanted(input: DisaggregationInput, netNewTokens: number, settings: DisaggregationSettings): Wanted {
  const byLength = boundedByLength(input.promptTokens, netNewTokens, settings);
  const byLoad: Wanted = isPrefillBusy(input, settings)
    ? { remote: false, reason: 'prefill_busy' }
    : { remote: true, reason: 'prefill_free' };
  switch (settings.policy) {
    case 'isl_bounding':
      return byLength;
    case 'prefill_load':
      return byLoad;
    case 'isl_or_load':
      return byLength.remote && !byLoad.remote ? byLoad : byLength;
    case 'local_length':
      if (netNewTokens <= settings.maxLocalPrefillLength) return { remote: false, reason: 'short' };
      return input.prefillQueue < settings.maxPrefillQueueSize
        ? { remote: true, reason: 'long' }
        : { remote: false, reason: 'prefill_busy' };
  }
}

function boundedByLength(
  promptTokens: number,
  netNewTokens: number,
  { effIslThreshold, effIslRatioThreshold }: DisaggregationSettings,
): Wanted {
  if (netNewTokens >= effIslThreshold) return { remote: true, reason: 'long' };
  const ratio = netNewTokens / Math.max(1, promptTokens);
  return ratio < effIslRatioThreshold
    ? { remote: false, reason: 'mostly_cached' }
    : { remote: true, reason: 'mostly_new' };
}

function isPrefillBusy({ prefill }: DisaggregationInput, { prefillBusyThreshold }: DisaggregationSettings): boolean {
  if (prefill === null) return true;
  if (prefillBusyThreshold === null) return false;
  const pass = prefill.maxBatchedTokens > 0 ? prefill.maxBatchedTokens : assumedBatchedTokens;
  return prefill.activeTokens > prefillBusyThreshold * pass;
}

/** A decode worker of which nobody knows how much it holds is spared. */
function isDecodeBusy({ blocks, totalBlocks }: DisaggregationInput['decode'], threshold: number | null): boolean {
  return threshold !== null && (totalBlocks === 0 || blocks > threshold * totalBlocks);
}
