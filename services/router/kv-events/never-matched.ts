import { hashCount } from '#core/tokens/packed-hashes.ts';
import type { KvSource } from './kv-slots.ts';

/** Why a worker's events may never match, as far as it can be told. */
export type MismatchCause = 'block_size' | 'salt' | 'hashing';

/** A worker whose events arrive and match nothing. */
export interface Mismatch {
  readonly source: KvSource;
  readonly cause: MismatchCause;
  /** The cause in words, with what speaks for it. */
  readonly because: string;
  readonly storedEvents: number;
  /** Requests that repeated a prompt on this worker and matched nothing. */
  readonly requests: number;
}

/** What is known of a prompt besides its hashes. */
export interface RoutedPrompt {
  /** Tokens in a block of its hashes. */
  readonly blockSize?: number;
  /** Whether a cache salt or an adapter is in its hashes. */
  readonly salted?: boolean;
}

interface Watched {
  readonly source: KvSource;
  storedEvents: number;
  storedBlocks: number;
  /** Blocks of prompts that were routed here for the first time. */
  newBlocks: number;
  repeats: number;
  saltedRepeats: number;
  /** Block size of the last prompt that has another one than the worker; 0: none. */
  otherBlockSize: number;
  /** First hashes of prompts routed here, in a table that forgets by overwriting. */
  readonly seen: Float64Array;
}

const remembered = 256;

/** An engine whose blocks are larger than the requests' stores fewer than this share of them. */
const fewBlocks = 0.6;

/**
 * Finds workers whose KV events come in but never match: users of such a setup see plain load balancing and look for days.
 * A worker is named when requests whose beginning had been routed to it before match nothing, again and again, and nothing
 * ever did. One match clears it for good.
 */
export class NeverMatched {
  readonly #minEvents: number;
  readonly #minRequests: number;
  readonly #watched = new Map<KvSource, Watched | 'matched'>();

  constructor(o: { readonly minEvents: number; readonly minRequests: number }) {
    this.#minEvents = o.minEvents;
    this.#minRequests = o.minRequests;
  }

  /** The worker told of blocks that it has computed. */
  stored(source: KvSource, events: number, blocks: number): void {
    const watched = this.#of(source);
    if (watched === 'matched') return;
    watched.storedEvents += events;
    watched.storedBlocks += blocks;
  }

  /** A prompt was routed to the worker, which was known to have so many of its blocks in any tier. */
  routed(source: KvSource, hashes: Uint8Array, matchedBlocks: number, prompt: RoutedPrompt = {}): void {
    if (hashes.length < 8) return;
    const watched = this.#of(source);
    if (watched === 'matched') return;
    if (matchedBlocks > 0) {
      this.#watched.set(source, 'matched');
      return;
    }
    if (!remember(watched.seen, hashes)) {
      watched.newBlocks += hashCount(hashes);
      return;
    }
    watched.repeats++;
    if (prompt.salted === true) watched.saltedRepeats++;
    if (prompt.blockSize !== undefined && prompt.blockSize !== source.blockSize)
      watched.otherBlockSize = prompt.blockSize;
  }

  /** The worker is gone, or begins anew. */
  forget(source: KvSource): void {
    this.#watched.delete(source);
  }

  all(): Mismatch[] {
    const found: Mismatch[] = [];
    for (const watched of this.#watched.values()) {
      if (watched === 'matched') continue;
      const { storedEvents, repeats, source } = watched;
      if (storedEvents < this.#minEvents || repeats < this.#minRequests) continue;
      found.push({ source, storedEvents, requests: repeats, ...causeOf(watched) });
    }
    return found;
  }

  #of(source: KvSource): Watched | 'matched' {
    const known = this.#watched.get(source);
    if (known !== undefined) return known;
    const watched = {
      source,
      storedEvents: 0,
      storedBlocks: 0,
      newBlocks: 0,
      repeats: 0,
      saltedRepeats: 0,
      otherBlockSize: 0,
      seen: new Float64Array(remembered),
    };
    this.#watched.set(source, watched);
    return watched;
  }
}

function causeOf(watched: Watched): Pick<Mismatch, 'cause' | 'because'> {
  const { blockSize } = watched.source;
  if (watched.otherBlockSize > 0)
    return {
      cause: 'block_size',
      because: `requests are hashed in blocks of ${watched.otherBlockSize} tokens, the worker's card says ${blockSize}`,
    };
  const share = watched.newBlocks === 0 ? 1 : watched.storedBlocks / watched.newBlocks;
  if (share < fewBlocks)
    return {
      cause: 'block_size',
      because: `the worker stored ${watched.storedBlocks} blocks for prompts of ${watched.newBlocks}: its engine's blocks seem to be larger than the ${blockSize} tokens of its card`,
    };
  if (watched.saltedRepeats === watched.repeats)
    return {
      cause: 'salt',
      because: 'every request has a cache salt or an adapter, which the engine seems to leave out of its hashes',
    };
  return {
    cause: 'hashing',
    because: "the engine's events seem to be hashed in another way than requests: another tokenizer, salt or algorithm",
  };
}

/** Whether the table had the first hash already; it has it now. */
function remember(seen: Float64Array, hashes: Uint8Array): boolean {
  const view = new DataView(hashes.buffer, hashes.byteOffset, 8);
  const low = view.getUint32(0, true);
  // 53 bits of the hash are a number; one apart from 0, which stands for nothing.
  const key = (view.getUint32(4, true) & 0x1f_ffff) * 2 ** 32 + low + 1;
  const at = low % seen.length;
  if (seen[at] === key) return true;
  seen[at] = key;
  return false;
}
