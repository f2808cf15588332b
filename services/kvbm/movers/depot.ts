import type { BlockHeader, ExpectedHeader } from '#core/blocks/record/block-header.ts';
import { tiers } from '#core/blocks/tiers.ts';
import type { Layout } from '../layout.ts';
import type { KnownNamespace } from '../namespace-book.ts';
import type { StoredRejection } from '../stored/sealing.ts';

export const tierNames = { [tiers.disk]: 'disk', [tiers.object]: 'object' } as const;

/** A block as a lower tier knows it. */
export interface RestingPlace {
  readonly layout: Layout;
  readonly namespace: KnownNamespace;
  /** 4 words. */
  readonly digest: Uint32Array;
  /** Slot of the tier's arena; -1 for a block that the manager does not know of there. */
  readonly slot: number;
}

/**
 * `unsound`: the bytes are not those of the header, nothing was written. `no_room`: this slot cannot be written at
 * present, others may.
 */
export type WriteOutcome = 'written' | 'unsound' | 'no_room';

/** What a read gave; the block's bytes are in the room that was given for it. */
export type StoredRead =
  | { readonly header: BlockHeader; readonly checksum: bigint; readonly rejection?: never }
  | { readonly rejection: StoredRejection | 'missing' };

/** Where blocks are at rest, as movers see it. Reads and writes reject with StatorError while it does not work. */
export interface Depot {
  readonly tier: typeof tiers.disk | typeof tiers.object;
  /** Whether writes are worth trying at present. */
  accepts(): boolean;
  /** Whether reads are. */
  answers(): boolean;
  /** False for a slot that cannot be written at present, though others may. */
  hasRoom(layout: Layout, slot: number): boolean;
  /** Copies a block out of host memory. `room` is where it stands, to the end of its last page. */
  write(place: RestingPlace, header: BlockHeader, room: Uint8Array, signal: AbortSignal): Promise<WriteOutcome>;
  /** Copies a block into host memory if it is the one that is expected. After a rejection the room holds anything. */
  read(
    place: RestingPlace,
    expected: ExpectedHeader,
    bytes: number | undefined,
    room: Uint8Array,
    signal: AbortSignal,
  ): Promise<StoredRead>;
  /** Makes sure that nobody finds what is at rest there: wrong, or written for a tenant that was purged meanwhile. */
  erase(place: RestingPlace): Promise<void>;
}
