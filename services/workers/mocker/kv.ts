import { createHash } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ExchangedPrompt, KvExchange, TakenBlocks } from '#core/scheduling/engine/kv-exchange.ts';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { hashBlocks } from '#native/tokens/index.ts';
import type { EngineKv, KvFormat, KvHold, KvImport, KvPrefix, KvSpan } from '../common/engine-kv.ts';
import type { RankHolds } from './holds.ts';
import { KvBytes } from './kv-bytes.ts';

/** Bytes made or compared in one turn of the event loop. */
const turnBytes = 1 << 20;

/** What the synthetic engine's KV needs of the rank that has it. */
export interface KvRank {
  readonly exchange: KvExchange;
  readonly holds: RankHolds;
  /** Blocks entered or left the cache, or there is room: tell who listens, and go on. */
  cacheChanged(): void;
  /** Blocks entered the cache whose tokens no sequence has brought. */
  imported(prefix: KvPrefix, from: number): void;
  /** A block with wrong bytes entered the cache: sequences that share it fail. */
  poison(sequenceHash: bigint): void;
  isPoisoned(sequenceHash: bigint): boolean;
}

export interface MockerKvOptions {
  readonly model: string;
  readonly blockTokens: number;
  readonly blockBytes: number;
  readonly rank: KvRank;
  readonly adapterDigest: (name: string) => Uint8Array | null;
}

/** KV of the synthetic engine: real bytes that are checked when they come back, around blocks that have none. */
export class MockerKv implements EngineKv {
  readonly format: KvFormat;
  readonly #o: MockerKvOptions;

  constructor(options: MockerKvOptions) {
    const { model, blockTokens, blockBytes } = options;
    this.#o = options;
    this.format = {
      model,
      modelDigest: createHash('sha256').update(`synthetic ${model}`).digest(),
      engine: 'mocker 1',
      dtype: 'u8',
      blockTokens,
      blockBytes,
      rank: 0,
      ranks: 1,
    };
  }

  adapterDigest(name: string): Uint8Array | null {
    return this.#o.adapterDigest(name);
  }

  cachedBlocks({ sequenceHashes }: KvPrefix): number {
    const hashes = words(sequenceHashes);
    return this.#o.rank.exchange.cached({ hashes, locals: hashes }, sequenceHashes.length);
  }

  async exportBlocks(prefix: KvPrefix, from: number, into: readonly KvSpan[], signal: AbortSignal): Promise<number[]> {
    const { rank, blockTokens, blockBytes } = this.#o;
    for (const { bytes } of into) if (bytes < blockBytes) throw wrongSize(bytes, blockBytes);
    const hold = rank.holds.add(rank.exchange.hold(exchangedPrompt(prefix, blockTokens), from + into.length));
    try {
      const content = new KvBytes(prefix, blockTokens, blockBytes);
      const written = into.slice(0, Math.max(0, hold.blocks - from));
      for (const [index, { memory, offset }] of written.entries()) {
        await this.#paced(index, signal);
        content.write(from + index, memory, offset);
        if (rank.isPoisoned(prefix.sequenceHashes[from + index] ?? 0n)) memory[offset] = ~(memory[offset] ?? 0);
      }
      return written.map(() => blockBytes);
    } finally {
      hold.release();
    }
  }

  async importBlocks(prefix: KvPrefix, from: number, spans: readonly KvSpan[], signal: AbortSignal): Promise<KvImport> {
    const { rank, blockTokens, blockBytes } = this.#o;
    for (const { bytes } of spans) if (bytes !== blockBytes) throw wrongSize(bytes, blockBytes);
    const taken = rank.exchange.take(exchangedPrompt(prefix, blockTokens), from, spans.length);
    if (taken === 'missing')
      throw new StatorError('conflict', `block ${from - 1} of the prompt is not cached any more`);
    if (taken === 'full')
      throw new StatorError('overloaded', `running sequences need the room of ${spans.length} blocks`);
    try {
      const content = new KvBytes(prefix, blockTokens, blockBytes);
      const wrong: number[] = [];
      for (const [index, { memory, offset }] of spans.entries()) {
        await this.#paced(index, signal);
        if (!content.matches(from + index, memory, offset)) wrong.push(index);
      }
      return new Import(taken, (accepted) => this.#accept(prefix, from, taken, wrong, accepted));
    } catch (thrown) {
      rank.exchange.release(rank.exchange.accept(taken, 0));
      rank.cacheChanged();
      throw thrown;
    }
  }

  #accept(prefix: KvPrefix, from: number, taken: TakenBlocks, wrong: readonly number[], sound: number): KvHold {
    const { rank } = this.#o;
    for (const index of wrong) if (index < sound) rank.poison(prefix.sequenceHashes[from + index] ?? 0n);
    if (sound > 0) rank.imported(prefix, from);
    const hold = rank.holds.add(rank.exchange.accept(taken, sound));
    rank.cacheChanged();
    return hold;
  }

  async #paced(index: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const perTurn = Math.max(1, Math.floor(turnBytes / this.#o.blockBytes));
    if (index % perTurn === perTurn - 1) await nextTurn();
    signal.throwIfAborted();
  }
}

class Import implements KvImport {
  readonly #blocks: number;
  #accept: ((sound: number) => KvHold) | undefined;

  constructor(taken: TakenBlocks, accept: (sound: number) => KvHold) {
    this.#blocks = taken.blocks.length;
    this.#accept = accept;
  }

  async accept(sound: number): Promise<KvHold> {
    const accept = this.#accept;
    this.#accept = undefined;
    if (accept === undefined) throw new StatorError('conflict', 'the import has ended already');
    return accept(Math.min(sound, this.#blocks));
  }

  discard(): void {
    const accept = this.#accept;
    this.#accept = undefined;
    accept?.(0).release();
  }
}

/** A prefix as the cache of a rank knows it. */
export function exchangedPrompt(
  { tokenIds, sequenceHashes, adapter, cacheSalt }: KvPrefix,
  blockTokens: number,
): ExchangedPrompt {
  const { localHashes } = hashBlocks(tokenIds, blockTokens, { adapter, cacheSalt });
  return { hashes: words(sequenceHashes), locals: words(localHashes) };
}

function words(hashes: BigUint64Array): Uint32Array {
  const packed = packHashes(hashes);
  const aligned = packed.byteOffset % 4 === 0 ? packed : packed.slice();
  return new Uint32Array(aligned.buffer, aligned.byteOffset, 2 * hashes.length);
}

function wrongSize(bytes: number, blockBytes: number): StatorError {
  return StatorError.invalid('bytes', `a block of this engine has ${blockBytes} bytes, not ${bytes}`);
}
