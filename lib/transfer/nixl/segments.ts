import type { Piece, Region } from '../transfer.ts';
import type { NixlBinding } from './binding.ts';

/** Posting blocks NIXL's thread while a CPU copies: between two posts a transfer can be cancelled. */
const SEGMENT_BYTES = 16 << 20;

interface Place {
  readonly address: bigint;
  readonly bytes: number;
}

/** As many here as there. */
export interface Places {
  readonly here: readonly Place[];
  readonly there: readonly Place[];
}

/**
 * Cuts a list into parts of at most SEGMENT_BYTES, and joins what is adjacent on both sides, because UCX takes its time for
 * each place.
 */
export function* segments(pieces: readonly Piece[], nixl: NixlBinding): Generator<Places> {
  const bases = new Map<Region, bigint>();
  let here: Place[] = [];
  let there: Place[] = [];
  let room = SEGMENT_BYTES;
  let before: Piece | undefined;
  for (const piece of pieces) {
    const { local, localOffset, remote, remoteOffset, bytes: all } = piece;
    const base = bases.get(local) ?? nixl.addressOf(local.buffer);
    bases.set(local, base);
    let joins = before !== undefined && continues(before, piece);
    before = piece;
    for (let done = 0; done < all; ) {
      const bytes = Math.min(room, all - done);
      add(here, { address: base + BigInt(localOffset + done), bytes }, joins);
      add(there, { address: remote.address + BigInt(remoteOffset + done), bytes }, joins);
      joins = true;
      done += bytes;
      room -= bytes;
      if (room > 0) continue;
      yield { here, there };
      [here, there, room] = [[], [], SEGMENT_BYTES];
    }
  }
  if (here.length > 0) yield { here, there };
}

function continues(before: Piece, piece: Piece): boolean {
  return (
    before.local === piece.local &&
    before.remote.id === piece.remote.id &&
    before.localOffset + before.bytes === piece.localOffset &&
    before.remoteOffset + before.bytes === piece.remoteOffset
  );
}

function add(places: Place[], place: Place, joins: boolean): void {
  const last = places.at(-1);
  if (joins && last !== undefined)
    places[places.length - 1] = { address: last.address, bytes: last.bytes + place.bytes };
  else places.push(place);
}
