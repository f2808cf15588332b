import type { KvChanges, SimulatedRequest } from '#core/scheduling/engine/engine-model.ts';
import { unpackHashes } from '#core/tokens/packed-hashes.ts';
import type { KvPrefix } from '../common/engine-kv.ts';
import { BlockTokens } from './block-tokens.ts';
import type { MockerSequence } from './sequence.ts';
import { vllmEventBatch } from './vllm-events.ts';
import type { ZmqFeed } from './zmq-feed.ts';

/** The cache of one rank told as vLLM tells it, with the tokens of every block. */
export class RawEvents {
  readonly #feed: ZmqFeed;
  readonly #blockSize: number;
  readonly #rank: number;
  readonly #tokens = new BlockTokens();
  /** Hashes of the blocks of each sequence. */
  readonly #blocks = new Map<number, bigint[]>();
  /** Blocks from elsewhere, until the event that tells of them. */
  readonly #imported: bigint[] = [];

  constructor(feed: ZmqFeed, o: { readonly blockSize: number; readonly rank: number }) {
    this.#feed = feed;
    this.#blockSize = o.blockSize;
    this.#rank = o.rank;
  }

  /** A sequence has come. */
  begin(sequence: MockerSequence, { id, sequenceHashes }: SimulatedRequest): void {
    const hashes = [...unpackHashes(sequenceHashes)];
    this.#blocks.set(id, hashes);
    for (const [index, hash] of hashes.entries()) this.#use(sequence, index, hash);
  }

  /** It has filled a block with its output. */
  filled(sequence: MockerSequence, id: number, index: number, hash: bigint): void {
    this.#blocks.get(id)?.push(hash);
    this.#use(sequence, index, hash);
  }

  /** Blocks came from elsewhere, before any sequence that has them. */
  imported({ tokenIds, sequenceHashes, adapter }: KvPrefix, from: number): void {
    for (let index = from; index < sequenceHashes.length; index++) {
      const tokens = tokenIds.subarray(index * this.#blockSize, (index + 1) * this.#blockSize);
      this.#tokens.use(sequenceHashes[index] ?? 0n, adapter, () => [...tokens]);
      this.#imported.push(sequenceHashes[index] ?? 0n);
    }
  }

  end(id: number): void {
    for (const hash of this.#blocks.get(id) ?? []) this.#tokens.release(hash);
    this.#blocks.delete(id);
  }

  publish(changes: KvChanges): void {
    const o = { blockSize: this.#blockSize, rank: this.#rank, nowMs: Date.now() };
    const batch = vllmEventBatch(changes, this.#tokens, o);
    for (const hash of this.#imported.splice(0)) this.#tokens.release(hash);
    if (batch !== null) this.#feed.publish(batch);
  }

  close(): void {
    this.#feed.close();
  }

  #use({ tokens, request }: MockerSequence, index: number, hash: bigint): void {
    const [from, to] = [index * this.#blockSize, (index + 1) * this.#blockSize];
    this.#tokens.use(hash, request.adapter, () => tokens.slice(from, to));
  }
}
