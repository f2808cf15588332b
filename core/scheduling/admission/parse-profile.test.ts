import { expect } from 'chai';
import { parsePolicyConfig, profileOf } from './parse-profile.ts';
import { classFor, isPrefillBusy, knowsName, type PolicyProfile, singleClassProfile } from './policy-class.ts';
import { PolicyProfileError } from './profile-node.ts';

const suggest = (name: string, known: readonly string[]): string | undefined =>
  known.find((candidate) => candidate[0] === name[0] && Math.abs(candidate.length - name.length) < 3);

const all = { min_tokens: 0, bucket: 'all' };
const standard = { name: 'standard', policy_family: 'std', cache_bucket: 'all', quantum: 8 };
const valid = { default_policy_family: 'std', uncached_isl_buckets: [all], policy_classes: [standard] };

function refusal(document: unknown): string {
  try {
    parsePolicyConfig(document, suggest);
  } catch (error) {
    if (error instanceof PolicyProfileError) return error.message;
    throw error;
  }
  throw new Error('It was accepted.');
}

function withClass(extra: Record<string, unknown>): string {
  return refusal({ ...valid, policy_classes: [standard, { ...standard, name: 'other', ...extra }] });
}

function picked(profile: PolicyProfile | undefined, requested: string, uncachedTokens: number): string | undefined {
  return profile && classFor(profile, requested, () => uncachedTokens).policyClass.name;
}

describe('policy profiles', () => {
  it('picks a class by its name, by family and bucket, or by the default family', () => {
    const config = parsePolicyConfig(
      {
        default_policy_family: 'std',
        uncached_isl_buckets: [
          { min_tokens: 0, bucket: 'warm' },
          { min_tokens: 1024, bucket: 'cold' },
        ],
        policy_classes: [
          { name: 'std-warm', policy_family: 'std', cache_bucket: 'warm', quantum: 4 },
          { name: 'std-cold', policy_family: 'std', cache_bucket: 'cold', quantum: 2 },
          { name: 'batch-cold', policy_family: 'batch', cache_bucket: 'cold', quantum: 1 },
          { name: 'batch-warm', policy_family: 'batch', cache_bucket: 'warm', quantum: 1 },
          { name: 'vip', quantum: 16, queue_policy: 'wspt' },
        ],
      },
      suggest,
    );
    const profile = profileOf(config, 'any');
    expect(picked(profile, '', 0)).to.equal('std-warm');
    expect(picked(profile, '', 1023)).to.equal('std-warm');
    expect(picked(profile, '', 1024)).to.equal('std-cold');
    expect(picked(profile, 'batch', 5)).to.equal('batch-warm');
    expect(picked(profile, 'batch', 5000)).to.equal('batch-cold');
    expect(picked(profile, 'vip', 5000)).to.equal('vip');
    expect(picked(profile, 'nobody', 5000)).to.equal('std-cold');
    // A class of a family is reached by its family and bucket only.
    expect(picked(profile, 'std-warm', 5000)).to.equal('std-cold');
    const known = ['vip', 'batch', 'nobody'].map((name) => profile !== undefined && knowsName(profile, name));
    expect(known).to.deep.equal([true, true, false]);
  });

  it('asks for uncached tokens only where a bucket depends on them', () => {
    const ask = (): number => {
      throw new Error('Nobody should ask.');
    };
    const profile = profileOf(parsePolicyConfig(valid, suggest), 'm');
    expect(profile && classFor(profile, '', ask).policyClass.name).to.equal('standard');
    expect(classFor(singleClassProfile({ queuePolicy: 'lcfs' }), 'x', ask).index).to.equal(0);
  });

  it('gives a model its own profile in place of the root, whole', () => {
    const own = { ...valid, policy_classes: [{ ...standard, name: 'own', prefill_busy_threshold_frac: 0 }] };
    const config = parsePolicyConfig({ ...valid, models: { 'meta/llama-3.1': own } }, suggest);
    expect(picked(profileOf(config, 'meta/llama-3.1'), '', 0)).to.equal('own');
    expect(picked(profileOf(config, 'other'), '', 0)).to.equal('standard');
    expect(profileOf(parsePolicyConfig({ models: { x: own } }, suggest), 'other')).to.equal(undefined);
  });

  it('keeps every field', () => {
    const fields = {
      queue_policy: 'lcfs',
      prefill_busy_threshold: 100,
      prefill_busy_threshold_frac: 1.5,
      request_queue_limit_per_worker: 0,
      raw_isl_token_queue_limit_per_worker: 7,
      cached_token_queue_limit_per_worker: 9,
    };
    const config = parsePolicyConfig({ ...valid, policy_classes: [{ ...standard, ...fields }] }, suggest);
    expect(config.root?.classes).to.deep.equal([
      {
        name: 'standard',
        queuePolicy: 'lcfs',
        quantum: 8,
        prefillBusyThreshold: 100,
        prefillBusyThresholdFraction: 1.5,
        requestLimitPerWorker: 0,
        promptTokenLimitPerWorker: 7,
        cachedTokenLimitPerWorker: 9,
      },
    ]);
  });

  it('names the field at fault', () => {
    expect(refusal([])).to.equal('a mapping is expected, not a list');
    expect(refusal({})).to.equal(
      'neither default_policy_family, uncached_isl_buckets, policy_classes nor models are given',
    );
    expect(refusal({ ...valid, policy_clases: [] })).to.equal(
      'policy_clases: unknown key; did you mean policy_classes?',
    );
    expect(refusal({ ...valid, zzz: 1 })).to.contain('zzz: unknown key; known are default_policy_family');
    expect(refusal({ policy_classes: [standard] })).to.equal('default_policy_family: it is missing');
    expect(refusal({ ...valid, default_policy_family: 'st' })).to.equal(
      'default_policy_family: no policy class has the family st; did you mean std?',
    );
    expect(refusal({ ...valid, default_policy_family: 'a b' })).to.contain('not "a b"');
    expect(refusal({ models: { 'a/b': { ...valid, models: {} } } })).to.contain('models["a/b"].models: unknown key');
    expect(refusal({ models: { '': valid } })).to.contain('the name of a model is expected');
    expect(refusal({ models: 3 })).to.equal('models: a mapping is expected, not 3');
  });

  it('checks buckets: the first begins at 0, they rise, their names differ', () => {
    const buckets = (...list: unknown[]): string => refusal({ ...valid, uncached_isl_buckets: list });
    expect(buckets()).to.equal('uncached_isl_buckets: at least one entry is needed');
    expect(buckets({ min_tokens: 5, bucket: 'all' })).to.equal(
      'uncached_isl_buckets[0].min_tokens: the first bucket must begin at 0, not 5',
    );
    expect(buckets(all, { min_tokens: 0, bucket: 'b' })).to.equal(
      'uncached_isl_buckets[1].min_tokens: it must be more than the 0 of the bucket before',
    );
    expect(buckets(all, { min_tokens: 1, bucket: 'all' })).to.equal(
      'uncached_isl_buckets[1].bucket: the bucket all exists already',
    );
    expect(buckets({ min_tokens: true, bucket: 'all' })).to.contain(
      'a whole number of at least 0 is expected, not true',
    );
    expect(buckets('x')).to.equal('uncached_isl_buckets[0]: a mapping is expected, not "x"');
  });

  it('checks classes', () => {
    expect(refusal({ ...valid, policy_classes: {} })).to.equal('policy_classes: a list is expected, not a mapping');
    expect(withClass({ quantum: 0 })).to.equal(
      'policy_classes[1].quantum: a whole number of at least 1 is expected, not 0',
    );
    expect(withClass({ quantum: 1.5 })).to.contain('not 1.5');
    expect(withClass({ quantum: null })).to.equal('policy_classes[1].quantum: it is missing');
    expect(withClass({ queue_policy: 'edf' })).to.equal(
      'policy_classes[1].queue_policy: fcfs, lcfs, wspt is expected, not "edf"',
    );
    expect(withClass({ prefill_busy_threshold_frac: -0.1 })).to.contain('a number that is not negative is expected');
    expect(withClass({ prefill_busy_threshold_frac: Number.NaN })).to.contain('not NaN');
    expect(withClass({ prefill_busy_threshold: '5' })).to.contain('prefill_busy_threshold: a whole number');
    expect(withClass({ name: 'standard', cache_bucket: 'all', policy_family: 'p' })).to.equal(
      'policy_classes[1].name: the policy class standard exists already',
    );
    expect(withClass({ cache_bucket: undefined, policy_family: 'std' })).to.equal(
      'policy_classes[1].cache_bucket: it is missing although policy_family is given',
    );
    expect(withClass({ policy_family: undefined })).to.equal(
      'policy_classes[1].policy_family: it is missing although cache_bucket is given',
    );
    expect(withClass({ cache_bucket: 'al' })).to.equal(
      'policy_classes[1].cache_bucket: uncached_isl_buckets has no al; did you mean all?',
    );
    expect(withClass({})).to.equal(
      'policy_classes[1].cache_bucket: the family std has a class for the bucket all already',
    );
    expect(withClass({ name: 'std', policy_family: undefined, cache_bucket: undefined })).to.equal(
      'policy_classes[1].name: a family is named std too, so that a request could not tell them apart',
    );
    const buckets = [all, { min_tokens: 9, bucket: 'cold' }];
    expect(refusal({ ...valid, uncached_isl_buckets: buckets })).to.equal(
      'policy_classes: the family std has no class for the bucket cold',
    );
  });
});

describe('isPrefillBusy', () => {
  const named = { name: 'a', queuePolicy: 'fcfs', quantum: 1 } as const;

  it('compares with the absolute threshold', () => {
    expect(isPrefillBusy({ ...named, prefillBusyThreshold: 100 }, 100, 0)).to.equal(false);
    expect(isPrefillBusy({ ...named, prefillBusyThreshold: 100 }, 101, 0)).to.equal(true);
  });

  it('compares with a multiple of one pass, ten million tokens where the worker does not tell', () => {
    const policyClass = { ...named, prefillBusyThresholdFraction: 0.5 };
    expect(isPrefillBusy(policyClass, 4096, 8192)).to.equal(false);
    expect(isPrefillBusy(policyClass, 4097, 8192)).to.equal(true);
    expect(isPrefillBusy(policyClass, 5_000_000, 0)).to.equal(false);
    expect(isPrefillBusy(policyClass, 5_000_001, 0)).to.equal(true);
  });

  it('is never so without a threshold', () => {
    expect(isPrefillBusy(named, Number.MAX_SAFE_INTEGER, 1)).to.equal(false);
  });
});
