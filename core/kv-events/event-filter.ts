import { Tier } from '#gen/stator/events/v1/events_pb.ts';
import type { EngineEvent, EventOrigin } from './engine-event.ts';

/** Why an event, or blocks of it, went no further. Low cardinality: it is a label. */
export type DropReason =
  | 'malformed'
  | 'ignored'
  | 'not_local'
  | 'foreign_owner'
  | 'unknown_medium'
  | 'other_attention'
  | 'unknown_attention'
  | 'unknown_cache_group'
  | 'unknown_rank'
  | 'wrong_block_size'
  | 'too_few_tokens'
  | 'self_reference'
  | 'unknown_parent'
  | 'unknown_block'
  | 'conflicting_block'
  | 'table_full';

const tiers: ReadonlyMap<string, Tier> = new Map([
  ...['GPU', 'DEVICE'].map((medium) => [medium, Tier.DEVICE] as const),
  ...['CPU', 'CPU_PINNED', 'CPU_TIER1'].map((medium) => [medium, Tier.HOST] as const),
  ...['CPU_TIER2', 'DISK', 'NVME', 'STORAGE'].map((medium) => [medium, Tier.DISK] as const),
  ...['EXTERNAL', 'NETWORK', 'REMOTE', 'SHARED'].map((medium) => [medium, Tier.EXTERNAL] as const),
]);

/** Tier of a medium; undefined for one that is not known. Engines leave it out for the device. */
export function tierOfMedium(medium: string | null): Tier | undefined {
  return medium === null ? Tier.DEVICE : tiers.get(medium);
}

/** Attention that looks at the whole prefix: only its blocks tell whether a prefix is cached. */
const wholePrefix = new Set(['full_attention', 'mla_attention', 'sink_full_attention']);
const otherAttention = new Set([
  'sliding_window',
  'sliding_window_mla',
  'mamba',
  'chunked_local_attention',
  'encoder_only_attention',
  'cross_attention',
]);

/** Most cache groups that a rank may name; models have a handful. */
const maxGroups = 256;

/** Keeps the events of one rank that say what a prefix has cached. Learns from stores what attention each cache group is of. */
export class EventFilter {
  readonly #kinds = new Map<number, string>();

  /** Why the event goes no further; null when it does. */
  reject(event: EngineEvent): DropReason | null {
    if (event.type === 'ignored') return 'ignored';
    const { ownership, locality, medium } = event.origin;
    if (ownership !== null) return 'foreign_owner';
    if (event.type === 'cleared') return null;
    if (locality !== null && locality !== 'LOCAL') return 'not_local';
    const tier = tierOfMedium(medium);
    if (tier === undefined) return 'unknown_medium';
    // Lower tiers name hashes only and have no cache groups.
    if (tier === Tier.DISK || tier === Tier.EXTERNAL) return null;
    if (event.type === 'stored') this.#learn(event.origin);
    return this.#rejectGroup(event.origin);
  }

  #learn({ cacheGroup, cacheKind }: EventOrigin): void {
    if (cacheGroup === null || cacheKind === null) return;
    if (this.#kinds.has(cacheGroup) || this.#kinds.size < maxGroups) this.#kinds.set(cacheGroup, cacheKind);
  }

  /** Removals name a group but not its kind. The first group is believed to be whole-prefix until it is known. */
  #rejectGroup({ cacheGroup, cacheKind }: EventOrigin): DropReason | null {
    const kind = cacheKind ?? (cacheGroup === null ? undefined : this.#kinds.get(cacheGroup));
    if (kind === undefined) return cacheGroup === null || cacheGroup === 0 ? null : 'unknown_cache_group';
    if (wholePrefix.has(kind)) return null;
    return otherAttention.has(kind) ? 'other_attention' : 'unknown_attention';
  }
}
