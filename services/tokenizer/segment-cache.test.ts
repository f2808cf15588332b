import { expect } from 'chai';
import { Registry } from 'prom-client';
import { tokenizerMetrics } from './metrics.ts';
import { SegmentCache } from './segment-cache.ts';

const ids = (...values: number[]): Uint32Array => Uint32Array.from(values);

describe('SegmentCache', () => {
  it('keeps ids by vocabulary and text, and counts hits and misses', async () => {
    const registry = new Registry();
    const cache = new SegmentCache({ maxBytes: 1 << 20, metrics: tokenizerMetrics(registry) });
    cache.put('a:', 'text', ids(1, 2));
    expect(cache.get('a:', 'text')).to.deep.equal(ids(1, 2));
    expect(cache.get('b:', 'text')).to.equal(null);
    const metrics = await registry.metrics();
    expect(metrics)
      .to.include('stator_tokenizer_cache_hits_total 1')
      .and.include('stator_tokenizer_cache_misses_total 1');
    expect(metrics).to.include(`stator_tokenizer_cache_bytes ${cache.bytes}`);
  });

  it('stays within its bytes and drops what was used longest ago', () => {
    const cache = new SegmentCache({ maxBytes: 4000, metrics: tokenizerMetrics(new Registry()) });
    for (let i = 0; i < 10; i++) cache.put('v', `text ${i}`, new Uint32Array(20));
    cache.get('v', 'text 0');
    for (let i = 10; i < 100; i++) {
      cache.put('v', `text ${i}`, new Uint32Array(20));
      expect(cache.bytes).to.be.at.most(4000);
      cache.get('v', 'text 0');
    }
    expect(cache.get('v', 'text 0')).to.not.equal(null);
    expect(cache.get('v', 'text 5')).to.equal(null);
    expect(cache.get('v', 'text 99')).to.not.equal(null);
  });

  it('does not let one text push out everything', () => {
    const cache = new SegmentCache({ maxBytes: 4000, metrics: tokenizerMetrics(new Registry()) });
    cache.put('v', 'small', ids(1));
    cache.put('v', 'large', new Uint32Array(500));
    expect(cache.get('v', 'large')).to.equal(null);
    expect(cache.get('v', 'small')).to.deep.equal(ids(1));
  });

  it('keeps a copy of the ids', () => {
    const cache = new SegmentCache({ maxBytes: 4000, metrics: tokenizerMetrics(new Registry()) });
    const mine = ids(1);
    cache.put('v', 'x', mine);
    mine[0] = 9;
    expect(cache.get('v', 'x')).to.deep.equal(ids(1));
    cache.put('v', 'x', ids(2));
    expect(cache.get('v', 'x')).to.deep.equal(ids(2));
  });
});
