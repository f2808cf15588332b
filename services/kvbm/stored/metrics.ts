import type { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { counterOf, gaugeOf, histogramOf } from '#lib/telemetry/metrics.ts';

/** What happens between host memory and the tiers below it. `tier` is `disk` or `object`. */
export interface StoredMetrics {
  readonly bytes: Counter<'tier' | 'direction'>;
  readonly seconds: Histogram<'tier' | 'direction'>;
  readonly failures: Counter<'tier' | 'direction' | 'reason'>;
  readonly rejections: Counter<'tier' | 'reason'>;
  readonly indexed: Counter<'tier'>;
  readonly degraded: Gauge<'tier'>;
}

const seconds = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

export function storedMetrics(registry: Registry): StoredMetrics {
  const name = (rest: string) => `stator_kvbm_stored_${rest}`;
  return {
    bytes: counterOf(registry, name('bytes_total'), 'Bytes of blocks moved: out (written) or in (read and sound).', [
      'tier',
      'direction',
    ]),
    seconds: histogramOf(registry, name('seconds'), 'Time of one block, waiting for its turn included.', seconds, [
      'tier',
      'direction',
    ]),
    failures: counterOf(
      registry,
      name('failures_total'),
      'Reads and writes that the tier did not carry out, and why.',
      ['tier', 'direction', 'reason'],
    ),
    rejections: counterOf(registry, name('rejections_total'), 'Blocks at rest that were not believed, and why.', [
      'tier',
      'reason',
    ]),
    indexed: counterOf(
      registry,
      name('indexed_blocks_total'),
      'Blocks that a listing showed and whose records were taken into the index.',
      ['tier'],
    ),
    degraded: gaugeOf(registry, name('degraded'), 'Whether the tier does not work at present.', ['tier']),
  };
}
