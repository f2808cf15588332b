import type { Logger } from 'pino';
import { unpackHashes } from '#core/tokens/packed-hashes.ts';
import type { GenerateRequest } from '#gen/stator/engine/v1/generate_pb.ts';
import type { KvHandoff } from '#gen/stator/transfer/v1/handoff_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { decodeDescriptors } from '#lib/transfer/descriptors.ts';
import type { Peer, Piece, Region, TransferAgent } from '#lib/transfer/transfer.ts';
import type { EngineKv, KvHold, KvPrefix, KvSpan } from '../engine-kv.ts';
import type { KvSource } from '../kv-admission.ts';
import { ByteBudget } from './byte-budget.ts';
import { checksumsOf } from './checksums.ts';
import { formatDigest, prefixDigest } from './digests.ts';
import type { Holders } from './holders.ts';
import type { MemoryPool } from './memory-pool.ts';
import type { HandoffMetrics, PullOutcome } from './metrics.ts';
import { Peers } from './peers.ts';
import { takeBack } from './revoke.ts';

export interface HandoffSourceOptions {
  readonly kv: () => EngineKv | undefined;
  readonly agents: { get(): Promise<readonly TransferAgent[]> };
  readonly holders: Pick<Holders, 'release'>;
  /** Most bytes that are fetched at once. */
  readonly maxBytes: number;
  readonly pool: MemoryPool;
  readonly log: Logger;
  readonly metrics: () => HandoffMetrics | undefined;
}

/** Blocks that are fetched: the same number of entries each. */
interface Wanted {
  readonly from: number;
  readonly bytes: readonly number[];
  readonly checksums: BigUint64Array;
}

/** A peer that stands still, or is slower than 20 MB/s, is not worth waiting for: computing is quicker. */
function longestPullMs(bytes: number): number {
  return 5000 + Math.ceil(bytes / 20_000);
}

/** Why decode computes a prompt whose KV it was offered. */
class PullError extends StatorError {
  readonly outcome: PullOutcome;

  constructor(outcome: PullOutcome, message: string) {
    super('not_found', message);
    this.outcome = outcome;
  }
}

/** KV of prompts that prefill workers computed: fetched, compared with its checksums, and released at its holder. */
export class HandoffSource implements KvSource {
  readonly name = 'handoff';
  readonly #o: HandoffSourceOptions;
  readonly #peers = new Peers();
  readonly #budget: ByteBudget;
  #closed = false;

  constructor(options: HandoffSourceOptions) {
    this.#o = options;
    this.#budget = new ByteBudget(options.maxBytes);
  }

  /** Bytes that KV takes which is being fetched. */
  get pullingBytes(): number {
    return this.#budget.used;
  }

  concerns({ handoff }: GenerateRequest): boolean {
    return handoff !== undefined;
  }

  async fetch({ handoff }: GenerateRequest, prefix: KvPrefix, signal: AbortSignal): Promise<KvHold | null> {
    if (handoff === undefined) return null;
    const kv = this.#o.kv();
    if (kv === undefined) return null;
    const begunMs = performance.now();
    const pulled = { backend: '', bytes: 0 };
    let outcome: PullOutcome = 'failed';
    try {
      const hold = await this.#take(kv, handoff, prefix, signal, pulled);
      outcome = hold === null ? 'nothing' : 'ok';
      if (handoff.tokens > 0 && hold === null) outcome = 'cached';
      return hold;
    } catch (thrown) {
      if (thrown instanceof PullError) outcome = thrown.outcome;
      throw thrown;
    } finally {
      this.#o.metrics()?.pulled(outcome, { ...pulled, ms: performance.now() - begunMs });
      this.#release(handoff);
    }
  }

  /** Whoever holds its KV need not wait for it. */
  passedBy({ handoff }: GenerateRequest): void {
    if (handoff !== undefined && this.#o.kv() !== undefined) this.#release(handoff);
  }

  close(): Promise<void> {
    this.#closed = true;
    return this.#peers.close();
  }

  async #take(
    kv: EngineKv,
    handoff: KvHandoff,
    prefix: KvPrefix,
    signal: AbortSignal,
    pulled: { backend: string; bytes: number },
  ): Promise<KvHold | null> {
    const wanted = wantedOf(handoff, kv, prefix);
    if (wanted === null) return null;
    const leftMs = Number(handoff.deadlineUnixMs) - Date.now();
    if (leftMs <= 0) throw new PullError('expired', 'The KV was handed over too long ago.');
    const total = wanted.bytes.reduce((sum, bytes) => sum + bytes, 0);
    await this.#budget.take(total, signal);
    const memory = this.#o.pool.take(total);
    let free = Promise.resolve();
    try {
      const agents = await this.#o.agents.get();
      await this.#peers.use(agents, handoff, leftMs, async (peer) => {
        const { local, pieces } = await piecesOf(peer, agents, handoff, wanted, memory);
        pulled.backend = peer.backend;
        try {
          await peer.pull(pieces, { timeoutMs: Math.min(leftMs, longestPullMs(total)), signal });
        } finally {
          free = takeBack(local, () => this.#closed);
        }
      });
      pulled.bytes = total;
      return await this.#import(kv, prefix, wanted, memory, signal);
    } finally {
      void free.then(() => {
        this.#budget.give(total);
        if (!this.#closed) this.#o.pool.give(memory);
      });
    }
  }

  async #import(
    kv: EngineKv,
    prefix: KvPrefix,
    { from, bytes, checksums }: Wanted,
    memory: Buffer,
    signal: AbortSignal,
  ): Promise<KvHold> {
    let offset = 0;
    const spans: KvSpan[] = [];
    for (const length of bytes) {
      spans.push({ memory, offset, bytes: length });
      offset += length;
    }
    const found = await checksumsOf(spans, bytes, signal);
    const wrong = found.findIndex((checksum, index) => checksum !== checksums[index]);
    if (wrong >= 0) throw new PullError('damaged', `Block ${from + wrong} of the handed-over KV has another checksum.`);
    try {
      const imported = await kv.importBlocks(prefix, from, spans, signal);
      return await imported.accept(spans.length);
    } catch (thrown) {
      const error = StatorError.from(thrown);
      throw error.code === 'overloaded' ? new PullError('no_room', error.message) : error;
    }
  }

  #release(handoff: KvHandoff): void {
    this.#o.holders.release(handoff).catch((thrown: unknown) => {
      this.#o.metrics()?.unheard();
      this.#o.log.debug({ err: StatorError.from(thrown), handoff: handoff.handoffId }, 'a handoff was not released');
    });
  }
}

/** The blocks that the engine lacks; null: none. Throws where the KV is not that of the prompt on this engine. */
function wantedOf(handoff: KvHandoff, kv: EngineKv, prefix: KvPrefix): Wanted | null {
  const { blockTokens, blockBytes } = kv.format;
  const blocks = handoff.blockBytes.length;
  if (blocks === 0) return null;
  const isWhole = handoff.tokens === blocks * blockTokens && handoff.blockChecksums.length === 8 * blocks;
  if (!isWhole || handoff.tokens > prefix.tokenIds.length || handoff.blockBytes.some((bytes) => bytes > blockBytes))
    throw new PullError('mismatch', 'The handed-over KV is not that of this prompt.');
  if (!formatDigest(kv, prefix.adapter).equals(handoff.formatDigest))
    throw new PullError('mismatch', 'The handed-over KV is of another model, adapter, engine or layout.');
  if (!prefixDigest(prefix, handoff.tokens).equals(handoff.prefixDigest))
    throw new PullError('mismatch', 'The handed-over KV is that of other tokens, or of another tenant.');
  const from = Math.min(kv.cachedBlocks(prefix), blocks);
  if (from === blocks) return null;
  const checksums = unpackHashes(handoff.blockChecksums).subarray(from);
  return { from, bytes: handoff.blockBytes.slice(from), checksums };
}

/** What is to be read, and memory for it that is registered: the caller takes it back. */
async function piecesOf(
  { backend }: Peer,
  agents: readonly TransferAgent[],
  { offers }: KvHandoff,
  { from, bytes }: Wanted,
  memory: Buffer,
): Promise<{ local: Region; pieces: Piece[] }> {
  const agent = agents.find((each) => each.backend === backend);
  const offer = offers.find((each) => each.backend === backend);
  if (agent === undefined || offer === undefined) throw new StatorError('internal', 'The peer was not offered.');
  const remote = decodeDescriptors(offer.descriptors).slice(from);
  if (remote.length !== bytes.length || remote.some((piece, index) => piece.bytes !== bytes[index]))
    throw new PullError('mismatch', 'The handoff describes other memory than it has blocks.');
  const local = await agent.register(memory);
  let localOffset = 0;
  const pieces = remote.map(({ region, offset, bytes: length }) => {
    const piece = { local, localOffset, remote: region, remoteOffset: offset, bytes: length };
    localOffset += length;
    return piece;
  });
  return { local, pieces };
}
