import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { KvReach_Enforcement, KvReachSchema } from '#gen/stator/model/v1/model_pb.ts';
import {
  type DisaggregationInput,
  type DisaggregationSettings,
  defaultDisaggregation,
  judgeDisaggregation,
} from './disaggregation.ts';
import { reachConstraint } from './topology.ts';

interface Case {
  readonly prompt?: number;
  readonly cached?: number;
  readonly prefill?: DisaggregationInput['prefill'];
  readonly queue?: number;
  readonly blocks?: number;
  readonly totalBlocks?: number;
}

function verdictOf(one: Case, settings: Partial<DisaggregationSettings> = {}): string {
  const { prompt = 1000, cached = 0, blocks = 0, totalBlocks = 100, queue = 0 } = one;
  const { prefill = { activeTokens: 0, maxBatchedTokens: 1000 } } = one;
  const decode = { cachedTokens: cached, blocks, totalBlocks };
  const input = { promptTokens: prompt, decode, prefill, prefillQueue: queue };
  const { remote, reason, netNewTokens } = judgeDisaggregation(input, { ...defaultDisaggregation, ...settings });
  return `${remote ? 'remote' : 'local'} ${reason} ${netNewTokens}`;
}

describe('conditional disaggregation', () => {
  it('isl_bounding: little is new, in tokens and as a part', () => {
    expect(verdictOf({ cached: 301 })).to.equal('local mostly_cached 699');
    expect(verdictOf({ cached: 300 })).to.equal('remote mostly_new 700');
    expect(verdictOf({ prompt: 100_000, cached: 97_953 })).to.equal('local mostly_cached 2047');
    expect(verdictOf({ prompt: 100_000, cached: 97_952 })).to.equal('remote long 2048');
    expect(verdictOf({ prompt: 100, cached: 200 })).to.equal('local mostly_cached 0');
    expect(verdictOf({ prompt: 0 })).to.equal('local mostly_cached 0');
    // Load is none of its business.
    expect(verdictOf({ prefill: null })).to.equal('remote mostly_new 1000');
  });

  it('prefill_load: the prefill worker has too much to compute', () => {
    const policy = { policy: 'prefill_load', prefillBusyThreshold: 2 } as const;
    expect(verdictOf({ prefill: { activeTokens: 2000, maxBatchedTokens: 1000 } }, policy)).to.equal(
      'remote prefill_free 1000',
    );
    expect(verdictOf({ prefill: { activeTokens: 2001, maxBatchedTokens: 1000 } }, policy)).to.equal(
      'local prefill_busy 1000',
    );
    expect(verdictOf({ prefill: { activeTokens: 1e6, maxBatchedTokens: 0 } }, policy)).to.equal(
      'remote prefill_free 1000',
    );
    expect(verdictOf({ prefill: null }, { policy: 'prefill_load' })).to.equal('local prefill_busy 1000');
    expect(verdictOf({ prefill: { activeTokens: 1e9, maxBatchedTokens: 1 } }, { policy: 'prefill_load' })).to.equal(
      'remote prefill_free 1000',
    );
  });

  it('isl_or_load: either', () => {
    const policy = { policy: 'isl_or_load', prefillBusyThreshold: 0 } as const;
    const busy = { activeTokens: 1, maxBatchedTokens: 1000 };
    expect(verdictOf({ prefill: busy }, policy)).to.equal('local prefill_busy 1000');
    expect(verdictOf({ cached: 900 }, policy)).to.equal('local mostly_cached 100');
    expect(verdictOf({}, policy)).to.equal('remote mostly_new 1000');
  });

  it('local_length: remote only what is long, and only while few wait', () => {
    const policy = { policy: 'local_length', maxLocalPrefillLength: 500, maxPrefillQueueSize: 2 } as const;
    expect(verdictOf({ cached: 500 }, policy)).to.equal('local short 500');
    expect(verdictOf({ cached: 499, queue: 1 }, policy)).to.equal('remote long 501');
    expect(verdictOf({ cached: 499, queue: 2 }, policy)).to.equal('local prefill_busy 501');
  });

  it('spares a decode worker that is busy, or does not tell', () => {
    const guard = { decodeBusyThreshold: 0.5 };
    expect(verdictOf({ cached: 900, blocks: 50 }, guard)).to.equal('local mostly_cached 100');
    expect(verdictOf({ cached: 900, blocks: 51 }, guard)).to.equal('remote decode_busy 100');
    expect(verdictOf({ cached: 900, blocks: 0, totalBlocks: 0 }, guard)).to.equal('remote decode_busy 100');
    expect(verdictOf({ cached: 0, blocks: 51 }, guard)).to.equal('remote mostly_new 1000');
  });
});

describe('reach of KV', () => {
  const place = { zone: 'a', rack: '7' };

  it('is the domain of the prefill worker: required, or preferred by a weight', () => {
    const required = create(KvReachSchema, { domain: 'rack' });
    expect(reachConstraint(required, place)).to.deep.equal({ taint: 'stator.topology/rack=7', weight: null });
    const { PREFERRED: enforcement } = KvReach_Enforcement;
    const preferred = create(KvReachSchema, { domain: 'zone', enforcement, preferredWeight: 0.3 });
    expect(reachConstraint(preferred, place)).to.deep.equal({ taint: 'stator.topology/zone=a', weight: 0.3 });
    expect(reachConstraint(create(KvReachSchema, { domain: 'zone', enforcement }), place)?.weight).to.equal(1);
  });

  it('is unbounded where nothing is said of it, or of the place', () => {
    expect(reachConstraint(undefined, place)).to.equal(null);
    expect(reachConstraint(create(KvReachSchema, { domain: 'host' }), place)).to.equal(null);
  });
});
