import type { Logger } from 'pino';
import type { BlockManager } from '#core/blocks/block-manager.ts';
import type { KvbmConfig } from './config.ts';
import type { Holders } from './holders.ts';
import type { HostTier } from './host-tier.ts';
import type { Layouts } from './layouts.ts';
import type { KvbmMetrics } from './metrics.ts';
import type { NamespaceBook } from './namespace-book.ts';
import type { OnboardParts } from './onboard.ts';
import type { Peers } from './peers/open.ts';
import type { Presence } from './presence.ts';
import type { LowerTiers } from './tiers.ts';

/** What a handler may use. */
export interface KvbmContext {
  readonly config: KvbmConfig;
  /** The block manager's life. */
  readonly epoch: number;
  readonly manager: BlockManager;
  readonly host: HostTier;
  readonly layouts: Layouts;
  readonly holders: Holders;
  readonly namespaces: NamespaceBook;
  readonly presence: Presence;
  readonly lower: LowerTiers;
  /** The exchange with other nodes, unless it is switched off. */
  readonly peers: Peers | undefined;
  readonly onboarding: OnboardParts;
  /** Holder that stands for the service itself: prefetches, verification. */
  readonly self: number;
  readonly metrics: KvbmMetrics;
  readonly log: Logger;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  /** Aborted when the block manager begins to stop: streams end then. */
  readonly stopping: AbortSignal;
}
