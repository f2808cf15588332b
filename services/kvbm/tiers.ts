import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { ArenaSpec } from '#core/blocks/arena.ts';
import type { BlockManager } from '#core/blocks/block-manager.ts';
import type { BlockChain } from '#core/blocks/chain.ts';
import type { SourceCost } from '#core/blocks/onboarding/plan.ts';
import type { Hash64 } from '#core/blocks/record/block-header.ts';
import type { tiers } from '#core/blocks/tiers.ts';
import type { HostTier } from './host-tier.ts';
import type { Layout } from './layout.ts';
import type { NamespaceBook } from './namespace-book.ts';

/** What the parts below host memory are given. */
export interface TierParts {
  /** Where every block is, in every tier. Movers attach to it as holders of their own. */
  readonly manager: BlockManager;
  /** Bytes in host memory; reservations and commits of host slots go through it, also those of movers. */
  readonly host: HostTier;
  readonly namespaces: NamespaceBook;
  /** XXH3-64, seed 0. */
  readonly hash64: Hash64;
  /** The block manager's life. */
  readonly epoch: number;
  readonly metrics: Registry;
  readonly log: Logger;
  readonly nowMs: () => number;
  /** Aborted when the block manager begins to stop. */
  readonly stopping: AbortSignal;
}

/** A tier below host memory. Its arena of a layout has the layout's index; its slots mean what it wants them to mean. */
export interface LowerTier {
  readonly tier: typeof tiers.disk | typeof tiers.object;
  /** Makes room for a layout, before anything else is asked about it. Undefined: none is left, or the tier does not work. */
  openLayout(layout: Layout): Promise<ArenaSpec | undefined>;
  /** Adopts (`adoptBlock`) what an earlier life left and verifies; the arena is opened for writers when it is done. */
  recover(layout: Layout): Promise<void>;
  /** Drops a tenant's blocks at rest: bytes and records that nobody can find any more included. Resolves with objects dropped. */
  purge(tenant: string): Promise<number>;
  /** Reads the block in a slot and compares it with its record and checksum. Throws when the tier does not answer. */
  verify(layout: Layout, slot: number): Promise<boolean>;
  /** Why it does not work now; null when it does. */
  degraded(): string | null;
  stop(): Promise<void>;
}

/** Blocks wanted in host memory. */
export interface LoadRequest {
  readonly chain: BlockChain;
  readonly layout: Layout;
  /** First block of the chain to load, and how many from there on. */
  readonly from: number;
  readonly count: number;
  readonly priority: number;
  /** Monotonic milliseconds, as `TierParts.nowMs` counts them, after which nobody wants them. */
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  /**
   * To be called in the same turn in which the blocks were registered in host memory, in order of the prompt and without
   * gaps from `from` on: the caller pins them before anything else can evict them.
   */
  readonly loaded: (from: number, count: number) => void;
}

/** Where Onboard and Prefetch get blocks from: a lower tier, or other nodes. */
export interface BlockSource {
  /** `tiers.disk`, `tiers.object` or `peerSource`. */
  readonly source: number;
  /**
   * How many blocks of the chain from `from` on it has that the manager does not know of (objects of other nodes, peers).
   * 0 at once when it can have none. Asked only before the first block that nothing else has.
   */
  find(chain: BlockChain, layout: Layout, from: number, signal: AbortSignal): Promise<number>;
  /** How long it takes at present, for blocks of so many bytes. */
  cost(blockBytes: number): SourceCost;
  /**
   * Brings blocks into host memory and registers them there; resolves with the number that came, counted from `from`.
   * Rejects with BlockError `arena_full` when host memory has no room.
   */
  load(request: LoadRequest): Promise<number>;
}

/** Everything below host memory, as the service wires it. */
export interface LowerTiers {
  readonly tiers: readonly LowerTier[];
  readonly sources: readonly BlockSource[];
  /** Host slots whose blocks others find now: candidates to be copied downwards. */
  registered(layout: number, slots: readonly number[]): void;
  /** Ends movers first, then tiers. */
  stop(): Promise<void>;
}
