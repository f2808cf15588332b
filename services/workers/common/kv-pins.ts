import type { Logger } from 'pino';
import type { GenerateRequest } from '#gen/stator/engine/v1/generate_pb.ts';
import { BlockUses } from './block-uses.ts';
import type { SequenceHandle, StepBatch } from './engine.ts';
import type { KvHold, KvPrefix, PromptKeeper } from './engine-kv.ts';
import type { KvObserver } from './kv-admission.ts';
import { mayReuseKv, promptPrefix } from './kv-prefix.ts';

/** How a prompt's time ended. `room`: a newer one needed its place. */
export type PinEnd = 'expired' | 'replaced' | 'released' | 'room' | 'cleared';

/** Why a prompt is not kept. */
export type PinRefusal = 'too_many' | 'no_room' | 'evicted';

export interface KvPinsMetrics {
  kept(): void;
  refused(why: PinRefusal): void;
  ended(how: PinEnd): void;
}

export interface KvPinsOptions {
  readonly prompts: () => PromptKeeper | undefined;
  readonly blockTokens: () => number;
  /** Blocks of the cache that may be kept at most. */
  readonly maxBlocks: () => number;
  /** Prompts that may be kept at most. */
  readonly maxPins: number;
  /** Longest time that counts, in seconds. */
  readonly maxSeconds: number;
  readonly metrics: () => KvPinsMetrics | undefined;
  readonly log: Logger;
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
}

interface Pin {
  readonly hold: KvHold;
  /** Of the blocks that are kept. */
  readonly hashes: BigUint64Array;
  /** Infinity while its sequence runs. */
  expiresMs: number;
}

/** What a running sequence asked for. */
interface Wish {
  readonly request: GenerateRequest;
  readonly seconds: number;
  pin: Promise<Pin | null> | undefined;
}

/**
 * Prompts that stay cached for as long as their requests ask: agents come back to them after tools have run. Kept prompts
 * take no more than a share of the cache; where a new one needs more, those that would end soonest end at once. A prompt
 * that continues another one replaces it, unless it would end earlier.
 */
export class KvPins implements KvObserver {
  readonly #o: KvPinsOptions;
  readonly #wishes = new Map<SequenceHandle, Wish>();
  readonly #pins = new Set<Pin>();
  readonly #uses = new BlockUses();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: KvPinsOptions) {
    this.#o = options;
  }

  get pins(): number {
    return this.#pins.size;
  }

  /** Different blocks. */
  get blocks(): number {
    return this.#uses.blocks;
  }

  submitted(handle: SequenceHandle, request: GenerateRequest): void {
    const seconds = request.cache?.keepSeconds;
    if (seconds === undefined || this.#closed || !mayReuseKv(request)) return;
    this.#wishes.set(handle, { request, seconds: Math.min(seconds, this.#o.maxSeconds), pin: undefined });
  }

  stepped({ prefilled, finished }: StepBatch): void {
    if (this.#wishes.size === 0) return;
    // Its blocks are the sequence's now, so that nothing evicts them before they are held.
    for (const { handle } of prefilled) {
      const wish = this.#wishes.get(handle);
      if (wish !== undefined && wish.seconds > 0) wish.pin = this.#keep(wish.request);
    }
    for (const { handle } of finished) this.#finished(handle);
  }

  /** The cache is emptied. */
  cleared(): void {
    for (const pin of [...this.#pins]) this.#end(pin, 'cleared');
  }

  close(): void {
    this.#closed = true;
    this.#wishes.clear();
    this.cleared();
    clearTimeout(this.#timer);
  }

  #finished(handle: SequenceHandle): void {
    const wish = this.#wishes.get(handle);
    if (wish === undefined) return;
    this.#wishes.delete(handle);
    if (wish.seconds === 0) this.#release(wish.request);
    const { pin } = wish;
    if (pin === undefined) return;
    const expiresMs = this.#o.nowMs() + wish.seconds * 1000;
    void pin.then((kept) => {
      if (kept === null) return;
      kept.expiresMs = expiresMs;
      const isReplaced = (pin: Pin): boolean =>
        pin !== kept && pin.expiresMs <= expiresMs && isPrefix(pin, kept.hashes);
      for (const pin of [...this.#pins]) if (isReplaced(pin)) this.#end(pin, 'replaced');
      this.#arm();
    });
  }

  async #keep(request: GenerateRequest): Promise<Pin | null> {
    const { metrics, log } = this.#o;
    const prefix = this.#prefixOf(request);
    const prompts = this.#o.prompts();
    if (prefix === null || prompts === undefined) return null;
    const fitting = this.#makeRoom(prefix);
    if (fitting === null) {
      metrics()?.refused('too_many');
      return null;
    }
    const { sequenceHashes } = fitting;
    // Counted before they are held, so that others that begin meanwhile find what is left.
    this.#uses.count(sequenceHashes, 1);
    try {
      const hold = await prompts.hold(fitting);
      this.#uses.count(sequenceHashes.subarray(hold.blocks), -1);
      if (hold.blocks > 0 && !this.#closed) return this.#add(sequenceHashes.subarray(0, hold.blocks), hold);
      this.#uses.count(sequenceHashes.subarray(0, hold.blocks), -1);
      hold.release();
      metrics()?.refused('evicted');
    } catch (thrown) {
      this.#uses.count(sequenceHashes, -1);
      log.debug({ err: thrown, requestId: request.requestId }, 'a prompt is not kept');
      metrics()?.refused('no_room');
    }
    return null;
  }

  #add(hashes: BigUint64Array, hold: KvHold): Pin {
    const pin: Pin = { hold, hashes, expiresMs: Number.POSITIVE_INFINITY };
    this.#pins.add(pin);
    this.#o.metrics()?.kept();
    return pin;
  }

  /** What of a prompt may be kept once those that end soonest have made room; null: nothing. */
  #makeRoom(prefix: KvPrefix): KvPrefix | null {
    const most = this.#o.maxBlocks();
    const count = Math.min(prefix.sequenceHashes.length, most);
    if (count < 1 || this.#o.maxPins < 1) return null;
    const hashes = prefix.sequenceHashes.subarray(0, count);
    while (this.#uses.blocks + this.#uses.missing(hashes) > most || this.#pins.size >= this.#o.maxPins) {
      if (this.#pins.size === 0) return null;
      const soonest = [...this.#pins].reduce((first, pin) => (pin.expiresMs < first.expiresMs ? pin : first));
      // Sequences that run now are not let down for the sake of another.
      if (soonest.expiresMs === Number.POSITIVE_INFINITY) return null;
      this.#end(soonest, 'room');
    }
    const tokenIds = prefix.tokenIds.subarray(0, count * this.#o.blockTokens());
    return { ...prefix, tokenIds, sequenceHashes: hashes };
  }

  /** Nothing of this prompt's beginning need be kept any more. */
  #release(request: GenerateRequest): void {
    const prefix = this.#prefixOf(request);
    if (prefix === null) return;
    for (const pin of [...this.#pins]) if (isPrefix(pin, prefix.sequenceHashes)) this.#end(pin, 'released');
  }

  #prefixOf(request: GenerateRequest): KvPrefix | null {
    const blockTokens = this.#o.blockTokens();
    return blockTokens === 0 ? null : promptPrefix(request, blockTokens);
  }

  #end(pin: Pin, how: PinEnd): void {
    if (!this.#pins.delete(pin)) return;
    this.#uses.count(pin.hashes, -1);
    pin.hold.release();
    this.#o.metrics()?.ended(how);
  }

  /** Wakes when the next pin ends. */
  #arm(): void {
    clearTimeout(this.#timer);
    if (this.#pins.size === 0 || this.#closed) return;
    const nextMs = Math.min(...[...this.#pins].map(({ expiresMs }) => expiresMs));
    if (nextMs === Number.POSITIVE_INFINITY) return;
    const delayMs = Math.max(0, nextMs - this.#o.nowMs());
    this.#timer = setTimeout(() => this.expire(), delayMs).unref();
  }

  /** Ends what has had its time. */
  expire(): void {
    const nowMs = this.#o.nowMs();
    for (const pin of [...this.#pins]) if (pin.expiresMs <= nowMs) this.#end(pin, 'expired');
    this.#arm();
  }
}

/** Whether a prompt with these hashes begins with what is kept. */
function isPrefix(pin: Pin, hashes: BigUint64Array): boolean {
  const last = pin.hashes.length - 1;
  return last < hashes.length && pin.hashes[last] === hashes[last];
}
