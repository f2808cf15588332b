import type { SequencedMessage } from './sequenced-feed.ts';

/** Number that ends a replay: -1 as eight bytes. */
const endOfReplay = 2n ** 64n - 1n;

/** Topic, number in eight bytes, payload; null for anything else. */
export function readPublished(frames: readonly Uint8Array[]): SequencedMessage | null {
  const [, sequence, payload] = frames;
  return frames.length === 3 && sequence !== undefined && payload !== undefined
    ? readNumbered(sequence, payload)
    : null;
}

/**
 * Number and payload are the last two frames; before them come an empty one or none, and the topic in newer engines.
 * 'end' for the last of a replay; null for anything else.
 */
export function readReplayed(frames: readonly Uint8Array[]): SequencedMessage | 'end' | null {
  const [sequence, payload] = frames.slice(-2);
  if (frames.length > 4 || sequence?.length !== 8 || payload === undefined) return null;
  return viewOf(sequence).getBigUint64(0) === endOfReplay ? 'end' : readNumbered(sequence, payload);
}

/** What asks for a replay. */
export function replayRequest(from: number): Uint8Array[] {
  const sequence = new Uint8Array(8);
  viewOf(sequence).setBigUint64(0, BigInt(from));
  return [new Uint8Array(0), sequence];
}

function readNumbered(bytes: Uint8Array, payload: Uint8Array): SequencedMessage | null {
  const sequence = bytes.length === 8 ? viewOf(bytes).getBigUint64(0) : endOfReplay;
  return sequence <= BigInt(Number.MAX_SAFE_INTEGER) ? { sequence: Number(sequence), payload } : null;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
