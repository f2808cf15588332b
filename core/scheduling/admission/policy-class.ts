export const queuePolicies = ['fcfs', 'lcfs', 'wspt'] as const;

/** Order within a class: first come first served, last come first served, weighted shortest processing time. */
export type QueuePolicy = (typeof queuePolicies)[number];

/** One queue with its share of the workers. */
export interface PolicyClass {
  readonly name: string;
  readonly queuePolicy: QueuePolicy;
  /** Uncached prompt tokens that the class may place in one round. */
  readonly quantum: number;
  /** Prompt tokens in flight on a rank above which it counts as busy. */
  readonly prefillBusyThreshold?: number | undefined;
  /** The same as a multiple of the tokens of one pass. */
  readonly prefillBusyThresholdFraction?: number | undefined;
  /** Requests that may wait for each worker. */
  readonly requestLimitPerWorker?: number | undefined;
  /** Prompt tokens that may wait for each worker. */
  readonly promptTokenLimitPerWorker?: number | undefined;
  /** Prompt tokens with a cached copy that may wait for each worker. */
  readonly cachedTokenLimitPerWorker?: number | undefined;
}

/** Assumed where a worker does not tell the tokens of one pass: such a worker is in effect never busy by a fraction. */
const assumedBatchedTokens = 10_000_000;

/** Whether requests of the class ever wait: without a threshold no worker is busy. */
export function canWait({ prefillBusyThreshold, prefillBusyThresholdFraction }: PolicyClass): boolean {
  return prefillBusyThreshold !== undefined || prefillBusyThresholdFraction !== undefined;
}

/** Whether a rank has more prompt tokens in flight than the class accepts. maxBatchedTokens 0: the worker does not tell. */
export function isPrefillBusy(
  policyClass: PolicyClass,
  activePrefillTokens: number,
  maxBatchedTokens: number,
): boolean {
  const { prefillBusyThreshold, prefillBusyThresholdFraction } = policyClass;
  if (prefillBusyThreshold !== undefined && activePrefillTokens > prefillBusyThreshold) return true;
  if (prefillBusyThresholdFraction === undefined) return false;
  const batch = maxBatchedTokens > 0 ? maxBatchedTokens : assumedBatchedTokens;
  return activePrefillTokens > prefillBusyThresholdFraction * batch;
}

/** The classes of a model and the rules that pick one for a request. */
export interface PolicyProfile {
  readonly classes: readonly PolicyClass[];
  /** Classes that a request may name: index by name. */
  readonly explicit: ReadonlyMap<string, number>;
  /** For each family the index of its class for each bucket. */
  readonly families: ReadonlyMap<string, readonly number[]>;
  readonly defaultFamily: string;
  /** Smallest number of uncached prompt tokens of each bucket, rising from 0. */
  readonly bucketStarts: readonly number[];
}

/** The profile without a policy file: one class; `busyFraction` unset means that nothing ever waits. */
export function singleClassProfile(options: {
  readonly queuePolicy: QueuePolicy;
  readonly busyFraction?: number | undefined;
}): PolicyProfile {
  const { queuePolicy, busyFraction } = options;
  return {
    classes: [{ name: 'default', queuePolicy, quantum: 1, prefillBusyThresholdFraction: busyFraction }],
    explicit: new Map(),
    families: new Map([['default', [0]]]),
    defaultFamily: 'default',
    bucketStarts: [0],
  };
}

/** A class and its index in its profile. */
export interface PickedClass {
  readonly index: number;
  readonly policyClass: PolicyClass;
}

/**
 * The class for a request. `requested` names a class or a family; another name or none means the default family.
 * The uncached tokens are asked for only if a bucket depends on them.
 */
export function classFor(profile: PolicyProfile, requested: string, uncachedTokens: () => number): PickedClass {
  const { explicit, families, defaultFamily, bucketStarts } = profile;
  const family = families.get(requested) ?? families.get(defaultFamily) ?? [];
  const bucketOf = (tokens: number): number => bucketStarts.findLastIndex((start) => start <= tokens);
  const index = explicit.get(requested) ?? family[bucketStarts.length > 1 ? bucketOf(uncachedTokens()) : 0] ?? 0;
  const policyClass = profile.classes[index];
  if (policyClass === undefined) throw new RangeError(`The profile has no class ${index}.`);
  return { index, policyClass };
}

/** Whether the profile has a class or family of this name; others count as not named. */
export function knowsName(profile: PolicyProfile, requested: string): boolean {
  return profile.explicit.has(requested) || profile.families.has(requested);
}
