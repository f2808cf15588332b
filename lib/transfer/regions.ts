import { StatorError } from '#lib/errors/errors.ts';
import type { Piece, Region, RegionRef } from './transfer.ts';

/** Places of regions in tables of a fixed size; place 0 is the back end's own. */
export const SLOTS = 1024;
const MAX_GENERATION = 0xffff_ffff / SLOTS - 1;

export function slotOf(id: number): number {
  return id % SLOTS;
}

/** Back end's part of giving memory back. */
type Revoke = (region: OwnRegion) => Promise<void>;

export class OwnRegion implements Region {
  readonly ref: RegionRef;
  readonly buffer: Uint8Array;
  /** Transfers of this process that use it now. */
  uses = 0;
  /** Peers may not write. */
  isReadOnly = false;
  /** Set once it is being taken back: it is not lent to anyone new. */
  isEnding = false;
  #borrowed = 0;
  #returned: (() => void)[] = [];
  readonly #take: (region: OwnRegion) => Promise<void>;

  constructor(ref: RegionRef, buffer: Uint8Array, take: (region: OwnRegion) => Promise<void>) {
    this.ref = ref;
    this.buffer = buffer;
    this.#take = take;
  }

  revoke(): Promise<void> {
    return this.#take(this);
  }

  /** Its bytes are about to be given to the system as they lie, until the function that this gives is called. */
  borrow(): () => void {
    this.#borrowed += 1;
    return () => {
      this.#borrowed -= 1;
      if (this.#borrowed === 0) for (const go of this.#returned.splice(0)) go();
    };
  }

  /** Resolves when nobody borrows it. */
  async returned(): Promise<void> {
    if (this.#borrowed > 0) await new Promise<void>((go) => this.#returned.push(go));
  }
}

/** The regions of one agent. Ids name a slot and how often it was used, so that no id ever returns. */
export class RegionTable {
  readonly #regions = new Map<number, OwnRegion>();
  readonly #free: number[];
  readonly #generations = new Uint32Array(SLOTS);
  readonly #revoke: Revoke;

  constructor(maxRegions: number, revoke: Revoke) {
    const slots = Math.min(maxRegions, SLOTS - 1);
    this.#free = Array.from({ length: slots }, (_, index) => slots - index);
    this.#revoke = revoke;
  }

  get size(): number {
    return this.#regions.size;
  }

  /** Throws `overloaded` where all slots are taken. */
  add(buffer: Uint8Array, address: bigint): OwnRegion {
    if (buffer.byteLength === 0) throw StatorError.invalid('buffer', 'A region needs at least one byte.');
    const slot = this.#free.pop();
    if (slot === undefined) throw new StatorError('overloaded', 'No more regions can be registered.');
    const generation = (this.#generations[slot] ?? 0) + 1;
    this.#generations[slot] = generation;
    const ref = { id: generation * SLOTS + slot, bytes: buffer.byteLength, address };
    const region = new OwnRegion(ref, buffer, (own) => this.#take(own));
    this.#regions.set(ref.id, region);
    return region;
  }

  get(id: number): OwnRegion | undefined {
    const region = this.#regions.get(id);
    return region?.isEnding === true ? undefined : region;
  }

  /** Forgets a region that was never shown to anyone. */
  discard(region: OwnRegion): void {
    if (!this.#regions.delete(region.ref.id)) return;
    const slot = slotOf(region.ref.id);
    if ((this.#generations[slot] ?? 0) < MAX_GENERATION) this.#free.push(slot);
  }

  async revokeAll(): Promise<void> {
    for (const region of [...this.#regions.values()]) await this.#take(region);
  }

  async #take(region: OwnRegion): Promise<void> {
    if (this.#regions.get(region.ref.id) !== region) return;
    if (region.uses > 0) throw new StatorError('conflict', 'A transfer of this process still uses the region.');
    await this.#revoke(region);
    this.discard(region);
  }
}

/** Checks a scatter list and returns its bytes and its own regions. Throws `invalid_argument` naming the piece. */
export function checkPieces(pieces: readonly Piece[], table: RegionTable): { bytes: number; regions: Set<OwnRegion> } {
  if (pieces.length === 0) throw StatorError.invalid('pieces', 'There is nothing to transfer.');
  let bytes = 0;
  const regions = new Set<OwnRegion>();
  for (const [index, piece] of pieces.entries()) {
    const own = table.get(piece.local.ref.id);
    if (own === undefined || own !== piece.local)
      throw StatorError.invalid(`pieces[${index}].local`, 'This region is none of this agent or was revoked.');
    if (!inside(piece.localOffset, piece.bytes, own.buffer.byteLength))
      throw StatorError.invalid(`pieces[${index}].localOffset`, 'The piece lies outside its local region.');
    if (!inside(piece.remoteOffset, piece.bytes, piece.remote.bytes))
      throw StatorError.invalid(`pieces[${index}].remoteOffset`, 'The piece lies outside its remote region.');
    bytes += piece.bytes;
    regions.add(own);
  }
  return { bytes, regions };
}

/** Whether a range of at least one byte lies in a region of `size` bytes. */
export function inside(offset: number, bytes: number, size: number): boolean {
  return (
    Number.isSafeInteger(offset) && Number.isSafeInteger(bytes) && offset >= 0 && bytes > 0 && offset + bytes <= size
  );
}

export function revoked(): StatorError {
  return StatorError.notFound('The region was revoked, or the peer has no such region.');
}
