import type { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { counterOf, gaugeOf, histogramOf } from '#lib/telemetry/metrics.ts';

export interface TokenizerMetrics {
  readonly requests: Counter<'method' | 'result'>;
  readonly encodeSeconds: Histogram;
  readonly renderSeconds: Histogram;
  readonly encodedTokens: Counter;
  readonly cacheHits: Counter;
  readonly cacheMisses: Counter;
  readonly cacheBytes: Gauge;
  readonly models: Gauge;
  readonly vocabularies: Gauge;
  readonly digestConflicts: Counter;
  readonly running: Gauge;
  readonly waiting: Gauge;
}

const seconds = [0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1];

export function tokenizerMetrics(registry: Registry): TokenizerMetrics {
  const name = (rest: string): string => `stator_tokenizer_${rest}`;
  return {
    requests: counterOf(registry, name('requests_total'), 'Requests, by method and result (ok or an error code).', [
      'method',
      'result',
    ]),
    encodeSeconds: histogramOf(registry, name('encode_seconds'), 'Seconds to encode a prompt.', seconds),
    renderSeconds: histogramOf(registry, name('render_seconds'), 'Seconds to render a chat template.', seconds),
    encodedTokens: counterOf(registry, name('tokens_total'), 'Token ids given out for prompts.'),
    cacheHits: counterOf(registry, name('cache_hits_total'), 'Texts between special tokens found in the cache.'),
    cacheMisses: counterOf(registry, name('cache_misses_total'), 'Texts between special tokens not in the cache.'),
    cacheBytes: gaugeOf(registry, name('cache_bytes'), 'Memory that the cache holds.'),
    models: gaugeOf(registry, name('models'), 'Models that discovery lists.'),
    vocabularies: gaugeOf(registry, name('vocabularies'), 'Vocabularies in memory.'),
    digestConflicts: counterOf(
      registry,
      name('digest_conflicts_total'),
      'Cards that were set aside because another digest holds their name.',
    ),
    running: gaugeOf(registry, name('running_requests'), 'Requests that are being encoded.'),
    waiting: gaugeOf(registry, name('waiting_requests'), 'Requests that wait for room.'),
  };
}
