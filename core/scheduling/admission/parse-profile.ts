import { type PolicyClass, type PolicyProfile, queuePolicies } from './policy-class.ts';
import { PolicyProfileError, ProfileNode, type Suggest } from './profile-node.ts';

/** What a policy file says: a profile for all models, and profiles that replace it for some. */
export interface PolicyConfig {
  readonly root: PolicyProfile | undefined;
  readonly models: ReadonlyMap<string, PolicyProfile>;
}

const profileKeys = ['default_policy_family', 'uncached_isl_buckets', 'policy_classes'] as const;
const bucketKeys = ['min_tokens', 'bucket'];
const classKeys = [
  'name',
  'policy_family',
  'cache_bucket',
  'queue_policy',
  'quantum',
  'prefill_busy_threshold',
  'prefill_busy_threshold_frac',
  'request_queue_limit_per_worker',
  'raw_isl_token_queue_limit_per_worker',
  'cached_token_queue_limit_per_worker',
];

/** The profile of a model: its own, which replaces the root's in whole, or the root's; undefined: the file has neither. */
export function profileOf(config: PolicyConfig, model: string): PolicyProfile | undefined {
  return config.models.get(model) ?? config.root;
}

/** Reads a parsed policy document. Throws PolicyProfileError, which names the field at fault. */
export function parsePolicyConfig(document: unknown, suggest: Suggest): PolicyConfig {
  const node = new ProfileNode(document, [], [...profileKeys, 'models'], suggest);
  const root = profileKeys.some((key) => node.has(key)) ? parseProfile(node, suggest) : undefined;
  const models = new Map<string, PolicyProfile>();
  for (const { name, value, path } of node.entries('models')) {
    if (name === '') throw new PolicyProfileError(path, 'the name of a model is expected, not nothing');
    models.set(name, parseProfile(new ProfileNode(value, path, profileKeys, suggest), suggest));
  }
  if (root === undefined && models.size === 0)
    throw new PolicyProfileError([], `neither ${profileKeys.join(', ')} nor models are given`);
  return { root, models };
}

function parseProfile(node: ProfileNode, suggest: Suggest): PolicyProfile {
  const defaultFamily = node.name('default_policy_family');
  const buckets = parseBuckets(node, suggest);
  const bound = node
    .items('policy_classes')
    .map(({ value, path }) =>
      parseClass(new ProfileNode(value, path, classKeys, suggest), [...buckets.keys()], suggest),
    );
  refuseRepeatedNames(bound);
  const families = familiesOf(node, bound, [...buckets.keys()]);
  if (!families.has(defaultFamily)) {
    const hint = hintOf(defaultFamily, [...families.keys()], suggest);
    throw node.error('default_policy_family', `no policy class has the family ${defaultFamily}${hint}`);
  }
  return {
    classes: bound.map(({ policyClass }) => policyClass),
    explicit: explicitOf(bound, families),
    families,
    defaultFamily,
    bucketStarts: [...buckets.values()],
  };
}

/** Smallest number of tokens of each bucket, in order. */
function parseBuckets(node: ProfileNode, suggest: Suggest): ReadonlyMap<string, number> {
  const buckets = new Map<string, number>();
  let previous: number | undefined;
  for (const { value, path } of node.items('uncached_isl_buckets')) {
    const bucket = new ProfileNode(value, path, bucketKeys, suggest);
    const minTokens = bucket.integer('min_tokens', 0);
    if (previous === undefined && minTokens !== 0)
      throw bucket.error('min_tokens', `the first bucket must begin at 0, not ${minTokens}`);
    if (previous !== undefined && minTokens <= previous)
      throw bucket.error('min_tokens', `it must be more than the ${previous} of the bucket before`);
    const name = bucket.name('bucket');
    if (buckets.has(name)) throw bucket.error('bucket', `the bucket ${name} exists already`);
    buckets.set(name, minTokens);
    previous = minTokens;
  }
  return buckets;
}

/** A class with the family and bucket that it serves, if it is not one that requests name. */
interface BoundClass {
  readonly node: ProfileNode;
  readonly policyClass: PolicyClass;
  readonly binding: { readonly family: string; readonly bucket: string } | undefined;
}

function parseClass(node: ProfileNode, buckets: readonly string[], suggest: Suggest): BoundClass {
  const policyClass: PolicyClass = {
    name: node.name('name'),
    queuePolicy: node.choice('queue_policy', queuePolicies, 'fcfs'),
    quantum: node.integer('quantum', 1),
    prefillBusyThreshold: node.optionalInteger('prefill_busy_threshold', 0),
    prefillBusyThresholdFraction: node.optionalNumber('prefill_busy_threshold_frac'),
    requestLimitPerWorker: node.optionalInteger('request_queue_limit_per_worker', 0),
    promptTokenLimitPerWorker: node.optionalInteger('raw_isl_token_queue_limit_per_worker', 0),
    cachedTokenLimitPerWorker: node.optionalInteger('cached_token_queue_limit_per_worker', 0),
  };
  const family = node.optionalName('policy_family');
  const bucket = node.optionalName('cache_bucket');
  if (family === undefined && bucket === undefined) return { node, policyClass, binding: undefined };
  if (family === undefined) throw node.error('policy_family', 'it is missing although cache_bucket is given');
  if (bucket === undefined) throw node.error('cache_bucket', 'it is missing although policy_family is given');
  if (!buckets.includes(bucket))
    throw node.error('cache_bucket', `uncached_isl_buckets has no ${bucket}${hintOf(bucket, buckets, suggest)}`);
  return { node, policyClass, binding: { family, bucket } };
}

function refuseRepeatedNames(bound: readonly BoundClass[]): void {
  const names = new Set<string>();
  for (const { node, policyClass } of bound) {
    if (names.has(policyClass.name)) throw node.error('name', `the policy class ${policyClass.name} exists already`);
    names.add(policyClass.name);
  }
}

/** For each family the index of its class for each bucket; every combination needs exactly one class. */
function familiesOf(
  node: ProfileNode,
  bound: readonly BoundClass[],
  buckets: readonly string[],
): ReadonlyMap<string, readonly number[]> {
  const byFamily = new Map<string, Map<string, number>>();
  for (const [index, { node: at, binding }] of bound.entries()) {
    if (binding === undefined) continue;
    const byBucket = byFamily.get(binding.family) ?? new Map<string, number>();
    if (byBucket.has(binding.bucket))
      throw at.error(
        'cache_bucket',
        `the family ${binding.family} has a class for the bucket ${binding.bucket} already`,
      );
    byFamily.set(binding.family, byBucket.set(binding.bucket, index));
  }
  const families = new Map<string, readonly number[]>();
  for (const [family, byBucket] of byFamily) {
    const missing = buckets.find((bucket) => !byBucket.has(bucket));
    if (missing !== undefined)
      throw node.error('policy_classes', `the family ${family} has no class for the bucket ${missing}`);
    families.set(
      family,
      buckets.flatMap((bucket) => byBucket.get(bucket) ?? []),
    );
  }
  return families;
}

function explicitOf(
  bound: readonly BoundClass[],
  families: ReadonlyMap<string, readonly number[]>,
): ReadonlyMap<string, number> {
  const explicit = new Map<string, number>();
  for (const [index, { node, policyClass, binding }] of bound.entries()) {
    if (binding !== undefined) continue;
    if (families.has(policyClass.name))
      throw node.error(
        'name',
        `a family is named ${policyClass.name} too, so that a request could not tell them apart`,
      );
    explicit.set(policyClass.name, index);
  }
  return explicit;
}

function hintOf(name: string, known: readonly string[], suggest: Suggest): string {
  const near = suggest(name, known);
  return near === undefined ? '' : `; did you mean ${near}?`;
}
