import type { Logger } from 'pino';
import type { Thresholds } from '#core/routing/thresholds.ts';
import type { ActiveSequences } from '#core/sequences/active-sequences.ts';
import type { Admission } from './admission.ts';
import type { KvBlocks } from './kv-blocks.ts';
import type { RouterMetrics } from './metrics.ts';
import type { PeerSync } from './peers/peer-sync.ts';
import type { Placer } from './placer.ts';
import type { Reservations } from './reservations.ts';
import type { TimedReservations } from './timed-reservations.ts';
import type { Workers } from './workers.ts';

/** What a handler may use. */
export interface RouterContext {
  readonly instanceId: bigint;
  readonly workers: Workers;
  readonly active: ActiveSequences;
  readonly admission: Admission;
  readonly blocks: KvBlocks;
  readonly placer: Placer;
  readonly reservations: Reservations;
  readonly timed: TimedReservations;
  /** The exchange with replicas; null: switched off. */
  readonly peers: PeerSync | null;
  /** Thresholds set at run time, by model. */
  readonly thresholds: Map<string, Thresholds>;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  readonly defaultThresholds: Thresholds;
  readonly metrics: RouterMetrics;
  readonly log: Logger;
  /** Aborted when the router begins to stop: sessions end then. */
  readonly stopping: AbortSignal;
}
