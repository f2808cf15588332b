import type { Counter, Gauge, Registry } from 'prom-client';
import { counterOf, gaugeOf } from '#lib/telemetry/metrics.ts';

export interface MoverMetrics {
  readonly offloads: Counter<'tier' | 'outcome'>;
  readonly waiting: Gauge<'tier'>;
  readonly loads: Counter<'tier' | 'outcome'>;
  readonly loading: Gauge<'tier'>;
}

export function moverMetrics(registry: Registry): MoverMetrics {
  const name = (rest: string) => `stator_kvbm_${rest}`;
  return {
    offloads: counterOf(
      registry,
      name('offload_blocks_total'),
      'Blocks offered to a colder tier, by what became of them.',
      ['tier', 'outcome'],
    ),
    waiting: gaugeOf(registry, name('offload_waiting'), 'Blocks that wait to be copied to a colder tier.', ['tier']),
    loads: counterOf(registry, name('load_blocks_total'), 'Blocks wanted from a colder tier, by what became of them.', [
      'tier',
      'outcome',
    ]),
    loading: gaugeOf(registry, name('load_blocks'), 'Blocks on their way into host memory.', ['tier']),
  };
}
