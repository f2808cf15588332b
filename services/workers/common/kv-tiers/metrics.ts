import type { Registry } from 'prom-client';
import { BlockTier } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { counterOf, histogramOf } from '#lib/telemetry/metrics.ts';
import { follow } from '../kv-metrics.ts';

const seconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/** Why blocks did not come although the block manager had them. */
export type OnboardDrop = 'stale' | 'wrong_bytes' | 'no_room' | 'lost_parent' | 'refused' | 'late' | 'failed';

/** Why blocks were not written back. */
export type OffloadDrop =
  | 'detached'
  | 'queue_full'
  | 'evicted'
  | 'present'
  | 'rare'
  | 'duplicate'
  | 'refused'
  | 'revoked'
  | 'failed'
  | 'stopped';

export interface KvTierMetrics {
  onboarded(tier: BlockTier, blocks: number, bytes: number): void;
  onboardDropped(reason: OnboardDrop, blocks: number): void;
  onboardEnd(end: string): void;
  /** One run of blocks from the slab into the engine, verified. */
  copiedIn(ms: number): void;
  offloaded(blocks: number, bytes: number): void;
  offloadDropped(reason: OffloadDrop, blocks: number): void;
  /** Blocks that wait without being kept from eviction. */
  unheld(blocks: number): void;
  /** One batch of blocks from the engine into the slab, committed. */
  copiedOut(ms: number): void;
  prefetchHint(): void;
}

export interface KvTierState {
  readonly attached: () => boolean;
  readonly offloadWaiting: () => number;
  readonly offloadHeld: () => number;
  readonly onboarding: () => number;
  readonly present: () => number;
}

/** Counters of a model; gauges ask `state` whenever they are read. */
export function kvTierMetrics(registry: Registry, model: string, state: KvTierState): KvTierMetrics {
  const name = (rest: string): string => `stator_worker_kv_${rest}`;
  const counter = <L extends string>(rest: string, help: string, labels: L[]) =>
    counterOf(registry, name(rest), help, ['model', ...labels]);
  const onboarded = counter('onboarded_blocks_total', 'KV blocks that came from a tier, by where they lay.', ['tier']);
  const bytes = counter('tier_bytes_total', 'Bytes of KV copied between engine and host memory.', ['direction']);
  const onboardDropped = counter(
    'onboard_dropped_blocks_total',
    'KV blocks that were offered and not used, by reason.',
    ['reason'],
  );
  const onboards = counter('onboards_total', 'Onboardings, by how they ended.', ['end']);
  const offloaded = counter('offloaded_blocks_total', 'KV blocks that were written back.', []);
  const offloadDropped = counter('offload_dropped_blocks_total', 'KV blocks that were not written back, by reason.', [
    'reason',
  ]);
  const unheld = counter(
    'offload_unheld_blocks_total',
    'KV blocks that waited to be written back without being kept from eviction.',
    [],
  );
  const prefetches = counter('prefetch_hints_total', 'Prompts announced to the block manager while they wait.', []);
  const copies = histogramOf(
    registry,
    name('tier_copy_seconds'),
    'Seconds of copying and verifying one run of blocks, in or out.',
    seconds,
    ['model', 'direction'],
  );
  follow(registry, name('tiers_attached'), 'Whether the block manager can be used.', model, () =>
    state.attached() ? 1 : 0,
  );
  follow(
    registry,
    name('offload_waiting_blocks'),
    'KV blocks that wait to be written back.',
    model,
    state.offloadWaiting,
  );
  follow(
    registry,
    name('offload_held_blocks'),
    'KV blocks that are kept in the engine until they are written back.',
    model,
    state.offloadHeld,
  );
  follow(registry, name('onboarding'), 'Sequences whose KV comes from tiers now.', model, state.onboarding);
  follow(registry, name('tier_present_blocks'), 'KV blocks that the tiers have of this model.', model, state.present);
  return {
    onboarded(tier, blocks, count) {
      onboarded.inc({ model, tier: tierNames[tier] ?? 'unknown' }, blocks);
      bytes.inc({ model, direction: 'in' }, count);
    },
    onboardDropped: (reason, blocks) => onboardDropped.inc({ model, reason }, blocks),
    onboardEnd: (end) => onboards.inc({ model, end }),
    copiedIn: (ms) => copies.observe({ model, direction: 'in' }, ms / 1000),
    offloaded(blocks, count) {
      offloaded.inc({ model }, blocks);
      bytes.inc({ model, direction: 'out' }, count);
    },
    offloadDropped: (reason, blocks) => offloadDropped.inc({ model, reason }, blocks),
    unheld: (blocks) => unheld.inc({ model }, blocks),
    copiedOut: (ms) => copies.observe({ model, direction: 'out' }, ms / 1000),
    prefetchHint: () => prefetches.inc({ model }),
  };
}

const tierNames: Readonly<Record<BlockTier, string>> = {
  [BlockTier.UNSPECIFIED]: 'unknown',
  [BlockTier.HOST]: 'host',
  [BlockTier.DISK]: 'disk',
  [BlockTier.OBJECT]: 'object',
  [BlockTier.PEER]: 'peer',
};
