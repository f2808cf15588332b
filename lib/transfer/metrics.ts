import type { Registry } from 'prom-client';
import { counterOf, gaugeOf, histogramOf } from '#lib/telemetry/metrics.ts';

/** Figures of transfers by back end; all agents of a registry share them. */
export function transferMetrics(registry: Registry) {
  const name = (rest: string) => `stator_transfer_${rest}`;
  return {
    transfers: counterOf(registry, name('transfers_total'), 'Transfers begun here, by outcome: ok or the error code.', [
      'backend',
      'direction',
      'outcome',
    ]),
    bytes: counterOf(registry, name('bytes_total'), 'Bytes of transfers that succeeded, by direction: pull or push.', [
      'backend',
      'direction',
    ]),
    seconds: histogramOf(
      registry,
      name('seconds'),
      'Time of one transfer that succeeded.',
      [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30],
      ['backend', 'direction'],
    ),
    running: gaugeOf(registry, name('running'), 'Transfers begun here that run.', ['backend']),
  };
}

export type TransferMetrics = ReturnType<typeof transferMetrics>;
