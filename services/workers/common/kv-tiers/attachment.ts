import { create } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';
import { packHashes } from '#core/tokens/packed-hashes.ts';
import {
  type BlockChain,
  BlockChainSchema,
  type CommitOutcome,
  type KvBlockService,
  type OnboardResponse,
  type ReserveResponse,
} from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { digestBytes } from '#lib/kv/prefix-digest.ts';
import type { BulkMemory } from '#lib/sharedmem/bulk-memory.ts';
import type { KvFormat, KvPrefix } from '../engine-kv.ts';
import type { MappedSlab } from './mapped-slab.ts';

/** Namespaces that are remembered; more are asked for again. */
const maxNamespaces = 4096;

/** Leases that end within so many milliseconds are named in one call. */
const releaseMs = 2;

export interface AttachmentParts {
  readonly client: Client<typeof KvBlockService>;
  readonly holderId: bigint;
  readonly epoch: number;
  readonly slab: MappedSlab;
  readonly bulk: BulkMemory;
  readonly format: KvFormat;
  readonly adapterDigest: (name: string) => Uint8Array | null;
  /** Milliseconds of one call; Onboard has its own limit. */
  readonly callTimeoutMs: number;
  /** Aborts when the block manager, or the right to write into its memory, is gone. */
  readonly signal: AbortSignal;
}

/** Names that stand for what decides bytes beside tokens. */
type KvNames = Pick<KvPrefix, 'adapter' | 'cacheSalt'>;

/** Blocks of a slab under one generation each. */
export interface SlabTickets {
  readonly slots: readonly number[];
  readonly generations: readonly number[];
}

/** A block that was written, or is offered. */
export interface SlabBlock {
  readonly slot: number;
  readonly generation: number;
  readonly checksum: bigint;
  readonly bytes: number;
}

/** What a block manager lets this worker do, from the moment it was attached until the stream ends. */
export class Attachment {
  readonly slab: MappedSlab;
  readonly signal: AbortSignal;
  /** The block manager did not answer in time, and has not been heard of since. */
  isSilent = false;
  readonly #o: AttachmentParts;
  readonly #namespaces = new Map<string, Promise<number>>();
  readonly #uses = new Set<Promise<unknown>>();
  readonly #leases: bigint[] = [];
  readonly #suspects: number[] = [];
  #releasing: NodeJS.Timeout | undefined;

  constructor(parts: AttachmentParts) {
    this.#o = parts;
    this.slab = parts.slab;
    this.signal = parts.signal;
  }

  /** Work that reads or writes the slab: it stays mapped, and this worker's lock stays taken, until the work has ended. */
  use<T>(work: () => Promise<T>): Promise<T> {
    this.signal.throwIfAborted();
    const release = this.slab.memory.hold();
    const used = work().finally(() => {
      release();
      this.#uses.delete(settled);
    });
    const settled = used.catch(() => {});
    this.#uses.add(settled);
    return used;
  }

  /** Resolves when nothing reads or writes the slab any more. */
  async unused(): Promise<void> {
    while (this.#uses.size > 0) await Promise.all(this.#uses);
  }

  /**
   * What the bytes of the names' blocks depend on now, beside tokens; null for an adapter that is not loaded. Another adapter
   * may come under the same name: who copies compares before and after.
   */
  identity({ adapter, cacheSalt }: KvNames): string | null {
    if (adapter === '') return `\0${cacheSalt}`;
    const digest = this.#o.adapterDigest(adapter);
    return digest === null ? null : `${Buffer.from(digest).toString('hex')}\0${cacheSalt}`;
  }

  /** Number of what the names' bytes depend on. Rejects with `not_found` for an adapter that is not loaded. */
  async namespace(names: KvNames): Promise<number> {
    const key = this.identity(names);
    if (key === null) throw StatorError.notFound(`adapter ${names.adapter} is not loaded`);
    const known = this.#namespaces.get(key);
    if (known !== undefined) return known;
    const opening = this.#openNamespace(names);
    this.#namespaces.set(key, opening);
    // What failed may succeed the next time.
    opening.catch(() => this.#namespaces.delete(key));
    const [oldest] = this.#namespaces.keys();
    if (this.#namespaces.size > maxNamespaces && oldest !== undefined) this.#namespaces.delete(oldest);
    return opening;
  }

  onboard(
    chain: BlockChain,
    o: { readonly timeoutMs: number; readonly recomputeBlockUs: number | undefined; readonly signal: AbortSignal },
  ): AsyncIterable<OnboardResponse> {
    const { client, holderId } = this.#o;
    const { timeoutMs, recomputeBlockUs, signal } = o;
    const request = { holderId, chain, timeoutMs: Math.max(1, Math.round(timeoutMs)) };
    const rest = recomputeBlockUs === undefined ? {} : { recomputeBlockUs };
    return client.onboard({ ...request, ...rest }, { signal: AbortSignal.any([signal, this.signal]) });
  }

  /** Ends a lease soon, together with others; `suspectSlots` had wrong bytes. */
  release(leaseId: bigint, suspectSlots: readonly number[]): void {
    this.#leases.push(leaseId);
    this.#suspects.push(...suspectSlots);
    this.#releasing ??= setTimeout(() => this.#release(), releaseMs);
  }

  async prefetch(chain: BlockChain): Promise<void> {
    await this.#o.client.prefetch({ holderId: this.#o.holderId, chain }, this.#call());
  }

  reserve(chain: BlockChain, priority: number): Promise<ReserveResponse> {
    return this.#o.client.reserve({ holderId: this.#o.holderId, chain, priority }, this.#call());
  }

  /** Outcome of each block. */
  async commit(blocks: readonly SlabBlock[]): Promise<readonly CommitOutcome[]> {
    const { client, holderId, epoch } = this.#o;
    const request = {
      ...{ holderId, epoch },
      slots: blocks.map(({ slot }) => slot),
      generations: blocks.map(({ generation }) => generation),
      checksums: blocks.map(({ checksum }) => checksum),
      bytes: blocks.map(({ bytes }) => BigInt(bytes)),
    };
    return (await client.commit(request, this.#call())).outcomes;
  }

  async abort({ slots, generations }: SlabTickets): Promise<void> {
    const { client, holderId, epoch } = this.#o;
    await client.abort({ holderId, epoch, slots: [...slots], generations: [...generations] }, this.#call());
  }

  /** XXH3-64 of what is in the slab, off the event loop. */
  checksums(blocks: readonly Pick<SlabBlock, 'slot' | 'bytes'>[]): Promise<BigUint64Array> {
    const ranges = blocks.map(({ slot, bytes }) => this.slab.span(slot, bytes));
    return this.#o.bulk.checksums(this.slab.memory.buffer, ranges);
  }

  /** What is lost with the block manager has ended with it, and leases that nobody ends do so by themselves. */
  #release(): void {
    this.#releasing = undefined;
    const [leaseIds, suspectSlots] = [this.#leases.splice(0), this.#suspects.splice(0)];
    const { client, holderId } = this.#o;
    if (!this.signal.aborted) client.release({ holderId, leaseIds, suspectSlots }, this.#call()).catch(() => {});
  }

  async #openNamespace({ adapter, cacheSalt }: KvNames): Promise<number> {
    const { client, holderId, format, adapterDigest } = this.#o;
    const digest = adapter === '' ? new Uint8Array() : adapterDigest(adapter);
    if (digest === null) throw StatorError.notFound(`adapter ${adapter} is not loaded`);
    const { model, modelDigest, rank, ranks } = format;
    const spec = { model, modelDigest, adapterDigest: digest, rank, ranks, cacheSalt };
    return (await client.openNamespace({ holderId, spec }, this.#call())).namespace;
  }

  #call(): { readonly signal: AbortSignal; readonly timeoutMs: number } {
    return { signal: this.signal, timeoutMs: this.#o.callTimeoutMs };
  }
}

/** Blocks `from` to `to` of a prompt, as calls name them. */
export function chainOf(
  namespace: number,
  { sequenceHashes }: KvPrefix,
  digests: Uint8Array,
  from: number,
  to: number,
): BlockChain {
  return create(BlockChainSchema, {
    namespace,
    startBlock: from,
    parentDigest: digests.subarray(Math.max(0, from - 1) * digestBytes, from * digestBytes),
    parentSequenceHash: from === 0 ? 0n : (sequenceHashes[from - 1] ?? 0n),
    digests: digests.subarray(from * digestBytes, to * digestBytes),
    sequenceHashes: packHashes(sequenceHashes.subarray(from, to)),
  });
}
