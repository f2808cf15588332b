import { xxh3 } from './xxh3.ts';

/** Placeholder tokens that stand for media begin here, above every vocabulary. */
const padBase = 1_000_000;
const padMask = (1n << 30n) - 1n;
const markerZeros = '0'.repeat(48);

/**
 * Hash of a media object from its identifier: of 64 hexadecimal digits the first 16 as a number, otherwise XXH3-64 of the
 * text. Null for the empty identifier.
 */
export function mediaHashOf(identifier: string): bigint | null {
  if (identifier === '') return null;
  if (/^[0-9a-fA-F]{64}$/.test(identifier)) return BigInt(`0x${identifier.slice(0, 16)}`);
  return xxh3(new TextEncoder().encode(identifier));
}

/** The identifier under which an engine is given a media hash, so that its events can be told from those with its own. */
export function mediaMarker(hash: bigint): string {
  return hash.toString(16).padStart(16, '0') + markerZeros;
}

/** The hash in a marker; null for anything else. */
export function mediaHashOfMarker(marker: string): bigint | null {
  if (marker.length !== 64 || !marker.endsWith(markerZeros)) return null;
  return /^[0-9a-fA-F]{16}/.test(marker) ? BigInt(`0x${marker.slice(0, 16)}`) : null;
}

/** Token that takes the place of a media object's placeholders where tokens alone are hashed. */
export function mediaPadToken(hash: bigint): number {
  return padBase + Number(hash & padMask);
}
