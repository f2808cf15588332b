import type { BlockInfo } from '#core/blocks/listing.ts';
import type { OffloadItem } from '#core/blocks/offload/pipeline.ts';
import type { Lease } from '#core/blocks/reading.ts';
import { tiers } from '#core/blocks/tiers.ts';
import type { Layout } from '../layout.ts';
import { identityOf } from '../stored/expected.ts';
import type { TierParts } from '../tiers.ts';
import type { Depot } from './depot.ts';

/** A block that stays where it is until it is released. */
export interface OffloadSource {
  readonly block: BlockInfo;
  readonly layout: Layout;
  /** Its bytes, with all that is up to the end of its last page. */
  readonly room: Uint8Array;
  /** Its bytes turned out to be others. */
  drop(): void;
  release(): void;
}

/** The block in host memory; undefined when it left. */
export function pinHost(
  { host, manager }: TierParts,
  holder: number,
  { namespace, digest }: OffloadItem,
): OffloadSource | undefined {
  const lease = host.pin(holder, namespace, digest, [0]);
  const [slot] = lease.slots;
  const block = slot === undefined ? undefined : manager.block(tiers.host, lease.arena, slot);
  if (slot === undefined || block === undefined) {
    host.release(holder, lease.id);
    return undefined;
  }
  const unmap = host.hold(lease.arena);
  return {
    block,
    layout: host.layoutOf(lease.arena),
    room: host.payload(lease.arena, slot),
    drop: () => host.drop(lease.arena, slot, namespace, digest, 0),
    release: () => {
      host.release(holder, lease.id);
      unmap();
    },
  };
}

/** The block on disk, read into memory of its own; undefined when it is not there or not sound. */
export async function readDisk(
  parts: TierParts,
  disk: Depot,
  allocate: (bytes: number) => Uint8Array,
  holder: number,
  item: OffloadItem,
): Promise<OffloadSource | undefined> {
  const { manager } = parts;
  if (!disk.answers() || !manager.tiersOf(item.namespace).includes(tiers.disk)) return undefined;
  const lease = manager.pin(holder, tiers.disk, item.namespace, item.digest, [0]);
  const release = (): void => manager.release(holder, lease.id);
  const source = await readPinned(parts, disk, allocate, lease, item).catch((thrown: unknown) => {
    release();
    throw thrown;
  });
  if (source !== undefined) return { ...source, release };
  release();
  return undefined;
}

async function readPinned(
  { manager, host, namespaces, stopping }: TierParts,
  disk: Depot,
  allocate: (bytes: number) => Uint8Array,
  lease: Lease,
  { namespace, digest }: OffloadItem,
): Promise<Omit<OffloadSource, 'release'> | undefined> {
  const [slot] = lease.slots;
  const block = slot === undefined ? undefined : manager.block(tiers.disk, lease.arena, slot);
  const known = namespaces.find(manager.namespaceAt(namespace).digest);
  if (slot === undefined || block === undefined || known === undefined) return undefined;
  const layout = host.layoutOf(lease.arena);
  const expected = { ...identityOf(layout, known, digest), generation: block.generation };
  const room = allocate(layout.slotBytes);
  const read = await disk.read({ layout, namespace: known, digest, slot }, expected, block.size, room, stopping);
  if (read.rejection !== undefined) {
    manager.drop(tiers.disk, namespace, digest, 0);
    return undefined;
  }
  const checksumLow = Number(read.checksum & 0xffff_ffffn);
  const checksumHigh = Number(read.checksum >> 32n);
  return { block: { ...block, checksumLow, checksumHigh }, layout, room, drop: () => undefined };
}
