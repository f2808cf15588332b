import { expect } from 'chai';
import fc from 'fast-check';
import { CandidateTable, type KnownCandidate } from './candidate-table.ts';
import { type CostSettings, defaultCostSettings, invalidOverride, settingsFor } from './cost-settings.ts';
import { createPolicy, type PolicyName } from './factory.ts';
import { type Cost, explainCosts, type RoutedPrompt } from './policy.ts';
import { effectiveCachedTokens } from './prefill-cost.ts';

/** 160 tokens in blocks of 16: ten blocks. */
const prompt: RoutedPrompt = { promptTokens: 160, blockSize: 16, blocks: 10 };

function costsOf(
  name: PolicyName,
  candidates: readonly Partial<KnownCandidate>[],
  { cost = {}, ...request }: Partial<RoutedPrompt> & { cost?: Partial<CostSettings> } = {},
): Cost[] {
  const table = new CandidateTable();
  for (const [i, candidate] of candidates.entries()) table.push({ instanceId: BigInt(i + 1), ...candidate });
  const policy = createPolicy(name, { cost });
  const routed = { ...prompt, ...request };
  policy.weigh(table, routed);
  return explainCosts(policy, table, routed);
}

function costOf(name: PolicyName, candidate: Partial<KnownCandidate>, extra?: Parameters<typeof costsOf>[2]): number {
  return costsOf(name, [candidate], extra)[0]?.cost ?? Number.NaN;
}

type Lookup = (term: string) => number;

function prefillBlocksOf(t: Lookup): number {
  return Math.max(t('raw_prefill_blocks') - creditOf(t), 0);
}

function creditOf(t: Lookup): number {
  const excess = (t('active_prefill_tokens') - t('least_active_prefill_tokens')) / t('block_size');
  const fades = t('track_prefill_tokens') === 1 && t('overlap_credit_decay') > 0;
  const decay = fades ? 1 / (1 + (t('overlap_credit_decay') * excess) / t('prompt_blocks')) : 1;
  return (
    t('overlap_credit') * decay * t('device_blocks') +
    t('host_cache_hit_weight') * t('host_blocks') +
    t('disk_cache_hit_weight') * (t('disk_blocks') + t('external_blocks')) +
    t('shared_cache_multiplier') * t('shared_blocks')
  );
}

function loadOf(t: Lookup): number {
  return (1 + Math.max(t('active_requests'), t('reported_sequences')) + t('pending_prefill')) * t('preference');
}

/** The formulas as documented, from nothing but the terms. */
const recomputed: Readonly<Partial<Record<PolicyName, (t: Lookup) => number>>> = {
  kv(t) {
    const decode = t('active_blocks') + t('new_blocks');
    const blocks =
      t('conditional_decode') === 1
        ? Math.max(decode - creditOf(t), 0)
        : t('prefill_load_scale') * prefillBlocksOf(t) + decode;
    return (blocks + t('decode_active_request_weight') * t('active_requests')) * t('preference');
  },
  'kv-v08'(t) {
    const uncached = Math.max(0, t('prompt_tokens') - t('device_blocks') * t('block_size'));
    const tokens = t('track_prefill_tokens') * (t('active_prefill_tokens') + uncached);
    const decode = t('active_blocks') + t('new_blocks');
    return (t('overlap_score_weight') * (tokens / t('block_size')) + decode) * t('preference');
  },
  lmetric(t) {
    const prefill = t('track_prefill_tokens') === 1 ? prefillBlocksOf(t) : 1;
    return prefill * (t('active_blocks') + t('new_blocks') + 1) * t('preference');
  },
  'two-tier': (t) => loadOf(t) + (t('device_blocks') < t('wanted_device_blocks') ? t('second_tier_penalty') : 0),
  'device-aware-weighted': (t) => loadOf(t) + t('other_kind') * t('other_kind_penalty'),
  'token-balance': (t) => (1 + t('active_tokens')) * t('preference'),
  'least-loaded': loadOf,
};

describe('kv cost', () => {
  it('is the blocks to prefill and the blocks held', () => {
    // max((64 + 160) / 16 − 4, 0) + 20 + 6 = 10 + 26
    const worker = { activePrefillTokens: 64, deviceBlocks: 4, activeBlocks: 20, newBlocks: 6 };
    expect(costOf('kv', worker)).to.equal(36);
  });

  it('credits every tier by its weight', () => {
    // credit = 2 + 0.75 · 2 + 0.25 · (1 + 3) + 0.5 · 2 = 5.5; 10 − 5.5 + 10
    const worker = { deviceBlocks: 2, hostBlocks: 2, diskBlocks: 1, externalBlocks: 3, sharedBlocks: 2, newBlocks: 10 };
    expect(costOf('kv', worker, { cost: { sharedCacheMultiplier: 0.5 } })).to.equal(14.5);
  });

  it('never credits more than there is to prefill', () => {
    expect(costOf('kv', { deviceBlocks: 10, newBlocks: 3 }, { cost: { overlapCredit: 2 } })).to.equal(3);
  });

  it('scales prefill, counts requests, prefers taints', () => {
    const cost = { prefillLoadScale: 2, decodeActiveRequestWeight: 0.5 };
    // (2 · 10 + 7 + 0.5 · 4) · 0.5
    expect(costOf('kv', { activeBlocks: 7, activeRequests: 4, preference: 0.5 }, { cost })).to.equal(14.5);
  });

  it('lets credit fade with the backlog beyond the least', () => {
    const cost = { overlapCreditDecay: 3 };
    const [idle, loaded] = costsOf(
      'kv',
      [
        { activePrefillTokens: 32, deviceBlocks: 4 },
        { activePrefillTokens: 32 + 160, deviceBlocks: 4 },
      ],
      { cost },
    );
    expect(idle?.cost).to.equal(12 - 4);
    // A whole prompt more than the least: 1 / (1 + 3 · 1) of the credit is left.
    expect(loaded?.terms['credit_decay']).to.equal(0.25);
    expect(loaded?.cost).to.equal(22 - 1);
  });

  it('does not let credit fade where prompts are no work', () => {
    const extra = { cost: { overlapCreditDecay: 3, trackPrefillTokens: false } };
    const [, loaded] = costsOf('kv', [{}, { activePrefillTokens: 999 }], extra);
    expect(loaded?.terms).to.include({ credit_decay: 1, raw_prefill_blocks: 0 });
  });

  it('goes by blocks held alone in the decode stage', () => {
    const worker = { activePrefillTokens: 64, deviceBlocks: 4, activeBlocks: 20, newBlocks: 6 };
    expect(costOf('kv', worker, { stage: 'decode' })).to.equal(26);
  });

  it('takes cached blocks off the blocks held in a conditional decode stage', () => {
    const extra = { stage: 'decode', cost: { conditionalDecode: true, decodeActiveRequestWeight: 1 } } as const;
    expect(costOf('kv', { deviceBlocks: 4, activeBlocks: 20, newBlocks: 6, activeRequests: 3 }, extra)).to.equal(25);
    expect(costOf('kv', { deviceBlocks: 40, activeBlocks: 20, activeRequests: 3 }, extra)).to.equal(3);
  });

  it('takes overrides of a request', () => {
    const worker = { deviceBlocks: 4, newBlocks: 6 };
    expect(costOf('kv', worker, { overrides: { overlapCredit: 0, prefillLoadScale: 0.5 } })).to.equal(11);
    expect(costOf('kv', worker, { overrides: { trackPrefillTokens: false } })).to.equal(6);
    expect(costOf('kv', worker, { overrides: { temperature: undefined } })).to.equal(12);
    const decode = settingsFor(defaultCostSettings, {
      ...prompt,
      stage: 'decode',
      overrides: { trackPrefillTokens: true, overlapCredit: 0.3 },
    });
    expect(decode).to.include({ trackPrefillTokens: true, overlapCredit: 0.3 });
  });

  it('tells overrides that are no weights', () => {
    expect(invalidOverride({ overlapCredit: 0, temperature: undefined, trackPrefillTokens: false })).to.equal(null);
    for (const value of [-1, Number.NaN, Infinity])
      expect(invalidOverride({ overlapCredit: 1, temperature: value })).to.equal('temperature');
  });

  it('weighs a prompt without a full block', () => {
    const extra = { promptTokens: 5, blocks: 0, cost: { overlapCreditDecay: 1 } };
    const [, loaded] = costsOf('kv', [{}, { activePrefillTokens: 16, newBlocks: 1 }], extra);
    expect(loaded?.cost).to.equal(21 / 16 + 1);
    expect(loaded?.terms['credit_decay']).to.equal(0.5);
  });

  it('forgets what an earlier decision wrote', () => {
    const table = new CandidateTable();
    for (let i = 0; i < 20; i++) table.push({ instanceId: BigInt(i), preference: 3, deviceBlocks: 7 });
    table.clear();
    table.add(1n, 2, 3);
    expect([table.count, table.preference[0], table.deviceBlocks[0], table.dataParallelRank[0]]).to.deep.equal([
      1, 1, 0, 2,
    ]);
  });

  it('prefers the less loaded of two with equal overlap', () => {
    const [busy, free] = costsOf('kv', [
      { deviceBlocks: 8, newBlocks: 10, activeBlocks: 12, activePrefillTokens: 16 },
      { deviceBlocks: 8, newBlocks: 10, activeBlocks: 12 },
    ]);
    expect(free?.cost).to.be.lessThan(busy?.cost ?? 0);
  });
});

describe('other costs', () => {
  it('kv-v08 weighs the prompt tokens to compute and the blocks held', () => {
    // 2 · (64 + 160 − 4 · 16) / 16 + 26
    const worker = { activePrefillTokens: 64, deviceBlocks: 4, hostBlocks: 3, activeBlocks: 20, newBlocks: 6 };
    expect(costOf('kv-v08', worker, { cost: { overlapScoreWeight: 2 } })).to.equal(46);
  });

  it('lmetric multiplies them', () => {
    // ((64 + 160) / 16 − 4) · (26 + 1)
    const worker = { activePrefillTokens: 64, deviceBlocks: 4, activeBlocks: 20, newBlocks: 6 };
    expect(costOf('lmetric', worker)).to.equal(270);
    expect(costOf('lmetric', worker, { stage: 'decode' })).to.equal(27);
  });

  it('counts cached tokens by tier, at most the prompt', () => {
    const hits = { deviceBlocks: 2, hostBlocks: 1, diskBlocks: 1, externalBlocks: 2 };
    // (2 + 0.75 + 0.25 · 3) · 16
    expect(effectiveCachedTokens(hits, prompt, defaultCostSettings)).to.equal(56);
    expect(effectiveCachedTokens({ ...hits, deviceBlocks: 99 }, prompt, defaultCostSettings)).to.equal(160);
  });
});

describe('cost terms', () => {
  const amount = fc.integer({ min: 0, max: 3000 });
  const weight = fc.double({ min: 0, max: 4, noNaN: true });
  const candidate = fc.record({
    activeRequests: amount,
    activePrefillTokens: amount,
    activeBlocks: weight,
    newBlocks: amount,
    activeTokens: amount,
    reportedSequences: amount,
    deviceBlocks: amount,
    hostBlocks: amount,
    diskBlocks: amount,
    externalBlocks: amount,
    sharedBlocks: amount,
    preference: fc.double({ min: 0.4, max: 2.7, noNaN: true }),
    deviceWeight: fc.constantFrom(1, 8),
  });
  const cost = fc.record({
    overlapCredit: weight,
    overlapCreditDecay: weight,
    prefillLoadScale: weight,
    decodeActiveRequestWeight: weight,
    hostCacheHitWeight: weight,
    diskCacheHitWeight: weight,
    sharedCacheMultiplier: weight,
    overlapScoreWeight: weight,
    trackPrefillTokens: fc.boolean(),
    conditionalDecode: fc.boolean(),
  });
  const stage = fc.constantFrom('decode' as const, undefined);

  for (const [name, recompute] of Object.entries(recomputed))
    it(`are all that the cost of ${name} is made of`, () => {
      fc.assert(
        fc.property(fc.array(candidate, { minLength: 1, maxLength: 6 }), cost, stage, (list, settings, at) => {
          for (const { cost: exact, terms } of costsOf(name as PolicyName, list, { cost: settings, stage: at }))
            expect(recompute((term) => terms[term] ?? Number.NaN)).to.equal(exact);
        }),
      );
    });
});
