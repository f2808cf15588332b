import type { Registry } from 'prom-client';
import { counterOf, histogramOf } from '#lib/telemetry/metrics.ts';
import { follow } from '../kv-metrics.ts';
import type { FreeCause } from './staging.ts';

const seconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** How a prefill ended: `staged`, or why its KV is not to be had. */
export type HandoffOutcome = 'staged' | 'short' | 'full' | 'failed' | 'cancelled';

/** How decode got KV: `ok`, or why it computes the prompt. */
export type PullOutcome = 'ok' | 'nothing' | 'cached' | 'expired' | 'mismatch' | 'damaged' | 'no_room' | 'failed';

/** What handing KV over counts. */
export interface HandoffMetrics {
  handedOver(outcome: HandoffOutcome, ms: number): void;
  freed(because: FreeCause): void;
  pulled(outcome: PullOutcome, o: { readonly backend: string; readonly bytes: number; readonly ms: number }): void;
  /** A prefill worker could not be told that its KV was fetched. */
  unheard(): void;
}

export interface HandoffState {
  readonly staged: () => number;
  readonly stagedBytes: () => number;
  readonly pullingBytes: () => number;
  readonly idleBytes: () => number;
}

/** Counters of a model; gauges ask `state` whenever they are read. */
export function handoffMetrics(registry: Registry, model: string, state: HandoffState): HandoffMetrics {
  const name = (rest: string): string => `stator_worker_handoff${rest}`;
  const handedOver = counterOf(
    registry,
    name('s_total'),
    'Prefills that ended with a handoff, by what became of the KV.',
    ['model', 'outcome'],
  );
  const stage = histogramOf(
    registry,
    name('_stage_seconds'),
    'Seconds from the first token until the KV could be fetched.',
    seconds,
    ['model'],
  );
  const freed = counterOf(registry, name('s_freed_total'), 'Staged prompts whose memory was taken back, by cause.', [
    'model',
    'because',
  ]);
  const pulls = counterOf(registry, name('_pulls_total'), 'Handoffs that decode took, by what it got.', [
    'model',
    'backend',
    'outcome',
  ]);
  const bytes = counterOf(registry, name('_pulled_bytes_total'), 'Bytes of KV fetched.', ['model', 'backend']);
  const pull = histogramOf(registry, name('_pull_seconds'), 'Seconds until fetched KV was in the engine.', seconds, [
    'model',
  ]);
  const unheard = counterOf(
    registry,
    name('_release_failures_total'),
    'Prefill workers that could not be told that their KV was fetched.',
    ['model'],
  );
  follow(registry, name('s_staged'), 'Prompts whose KV takes memory here.', model, state.staged);
  follow(registry, name('_staged_bytes'), 'Bytes that staged KV takes.', model, state.stagedBytes);
  follow(registry, name('_pulling_bytes'), 'Bytes that KV takes which is being fetched.', model, state.pullingBytes);
  follow(registry, name('_idle_bytes'), 'Bytes of memory that wait for the next handoff.', model, state.idleBytes);
  return {
    handedOver(outcome, ms) {
      handedOver.inc({ model, outcome });
      if (outcome === 'staged') stage.observe({ model }, ms / 1000);
    },
    freed: (because) => freed.inc({ model, because }),
    pulled(outcome, { backend, bytes: count, ms }) {
      pulls.inc({ model, backend, outcome });
      if (outcome !== 'ok') return;
      bytes.inc({ model, backend }, count);
      pull.observe({ model }, ms / 1000);
    },
    unheard: () => unheard.inc({ model }),
  };
}
