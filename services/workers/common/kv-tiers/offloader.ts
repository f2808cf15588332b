import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { OffloadItem, OffloadPipeline } from '#core/blocks/offload/pipeline.ts';
import { CommitOutcome } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { digestBytes, prefixDigests } from '#lib/kv/prefix-digest.ts';
import type { EngineKv, KvPrefix } from '../engine-kv.ts';
import { prefixOf } from '../kv-prefix.ts';
import { type Attachment, chainOf, type SlabBlock } from './attachment.ts';
import type { KvTierMetrics, OffloadDrop } from './metrics.ts';
import type { OffloadHolds } from './offload-holds.ts';
import type { TrackedSequence } from './sequence-tokens.ts';

export interface OffloaderOptions {
  readonly kv: EngineKv;
  readonly current: () => Attachment | undefined;
  /** Whether some tier has the block already, as far as is known. */
  readonly isPresent: (namespace: number, sequenceHash: bigint) => boolean;
  /** Made with what is to be told of blocks that lose their place in it. */
  readonly pipeline: (onDisplaced: (item: OffloadItem) => void) => OffloadPipeline;
  /** Keeps in the engine what waits. */
  readonly holds: OffloadHolds;
  readonly metrics: () => KvTierMetrics;
  readonly log: Logger;
}

/** Blocks of one prompt that wait together. */
interface Job {
  readonly attachment: Attachment;
  readonly identity: string | null;
  readonly namespace: number;
  readonly prefix: KvPrefix;
  readonly digests: Uint8Array;
  /** Blocks of it that are neither written nor given up. */
  open: number;
  /** Ends what keeps them in the engine. */
  release: () => void;
}

interface Place {
  readonly job: Job;
  readonly block: number;
}

/** Consecutive blocks of one job. */
interface Group {
  readonly job: Job;
  readonly from: number;
  count: number;
  readonly priority: number;
}

/** A block that the slab has a slot for. */
interface Reserved {
  readonly block: number;
  readonly slot: number;
  readonly generation: number;
}

/** Writes what the engine computed back to the block manager: reserved, copied straight into the slab, checksummed, committed. */
export class Offloader {
  readonly #o: OffloaderOptions;
  readonly #pipeline: OffloadPipeline;
  readonly #places = new WeakMap<OffloadItem, Place>();
  readonly #offering = new Set<Promise<void>>();
  readonly #sending = new Set<Promise<void>>();
  readonly #ending = new AbortController();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: OffloaderOptions) {
    this.#o = options;
    this.#pipeline = options.pipeline((item) => this.#displaced(item));
  }

  get waiting(): number {
    return this.#pipeline.waiting;
  }

  /** The first so many tokens of the sequence are computed: their full blocks may go to the tiers. Never waits. */
  offer(sequence: TrackedSequence, computedTokens: number): void {
    const { kv, current } = this.#o;
    const blocks = Math.floor(computedTokens / kv.format.blockTokens);
    const from = sequence.offered;
    if (blocks <= from || this.#ending.signal.aborted) return;
    sequence.offered = blocks;
    const attachment = current();
    if (attachment === undefined) {
      this.#o.metrics().offloadDropped('detached', blocks - from);
      return;
    }
    const offering = this.#offer(attachment, sequence, from, blocks)
      .catch((thrown: unknown) => this.#lost(thrown, blocks - from, attachment))
      .finally(() => this.#offering.delete(offering));
    this.#offering.add(offering);
  }

  /** Sends what waits, for at most so long, and takes nothing more. Idempotent. */
  async drain(timeoutMs: number): Promise<void> {
    const late = delay(timeoutMs, undefined, { ref: false }).then(() => this.#ending.abort(stopped()));
    const isOver = (): boolean => this.#offering.size === 0 && this.#sending.size === 0 && this.waiting === 0;
    while (!isOver() && !this.#ending.signal.aborted) {
      const under = [...this.#offering, ...this.#sending];
      await Promise.race([late, ...(under.length > 0 ? under : [delay(1)])]);
    }
    this.#ending.abort(stopped());
    clearTimeout(this.#timer);
    if (this.waiting > 0) this.#o.metrics().offloadDropped('stopped', this.waiting);
    await Promise.all(this.#sending);
    void this.#o.holds.close();
  }

  async #offer(attachment: Attachment, sequence: TrackedSequence, from: number, blocks: number): Promise<void> {
    const { kv, holds, isPresent, metrics } = this.#o;
    const { blockTokens, blockBytes } = kv.format;
    const { tokenIds, adapter, cache, priority } = sequence.request;
    const cacheSalt = cache?.cacheSalt ?? '';
    const tokens = Uint32Array.from([...tokenIds, ...sequence.output].slice(0, blocks * blockTokens));
    const identity = attachment.identity({ adapter, cacheSalt });
    const namespace = await attachment.namespace({ adapter, cacheSalt });
    const prefix = prefixOf(tokens, blockTokens, { adapter, cacheSalt });
    if (prefix === null) return;
    const digests = prefixDigests(tokens, blockTokens);
    const job: Job = { attachment, identity, namespace, prefix, digests, open: 0, release: () => {} };
    const words = new Uint32Array(job.digests.buffer, job.digests.byteOffset, job.digests.length / 4);
    const now = performance.now();
    for (let block = from; block < blocks; block++) {
      const digest = words.subarray((block * digestBytes) / 4, ((block + 1) * digestBytes) / 4);
      const item = { namespace, digest, bytes: blockBytes, priority: Math.min(15, Math.max(0, priority)) };
      this.#places.set(item, { job, block });
      const outcome = this.#pipeline.offer(item, isPresent(namespace, prefix.sequenceHashes[block] ?? 0n), now);
      if (outcome === 'admit') job.open++;
      else if (outcome === 'present' || outcome === 'rare') metrics().offloadDropped(outcome, 1);
      else if (outcome === 'dropped') metrics().offloadDropped('queue_full', 1);
    }
    if (job.open > 0) job.release = holds.keep(prefix, job.open);
    this.#pump();
  }

  #displaced(item: OffloadItem): void {
    this.#o.metrics().offloadDropped('queue_full', 1);
    const place = this.#places.get(item);
    if (place !== undefined) settle(place.job, 1);
  }

  #pump(): void {
    const pipeline = this.#pipeline;
    if (this.#ending.signal.aborted) return;
    for (let batch = pipeline.next(performance.now()); batch !== undefined; batch = pipeline.next(performance.now())) {
      const sending = this.#send(batch).finally(() => {
        pipeline.finish();
        this.#sending.delete(sending);
        this.#pump();
      });
      this.#sending.add(sending);
    }
    clearTimeout(this.#timer);
    const now = performance.now();
    const wakeAtMs = pipeline.wakeAtMs(now);
    if (wakeAtMs === undefined) return;
    this.#timer = setTimeout(() => this.#pump(), Math.max(1, wakeAtMs - now));
    this.#timer.unref();
  }

  /** Never rejects. */
  async #send(batch: readonly OffloadItem[]): Promise<void> {
    for (const group of this.#groupsOf(batch)) {
      const { attachment } = group.job;
      try {
        if (attachment !== this.#o.current()) throw new StatorError('worker_unavailable', 'the block manager is gone');
        await attachment.use(() => this.#write(group));
      } catch (thrown) {
        this.#lost(thrown, group.count, attachment);
      } finally {
        settle(group.job, group.count);
      }
    }
  }

  async #write(group: Group): Promise<void> {
    const { job, from, count, priority } = group;
    const { attachment, namespace, prefix, digests } = job;
    const startMs = performance.now();
    const chain = chainOf(namespace, prefix, digests, from, from + count);
    const { blocks, slots, generations } = await attachment.reserve(chain, priority);
    const reserved = blocks.map((block, i) => {
      return { block: from + block, slot: slots[i] ?? 0, generation: generations[i] ?? 0 };
    });
    if (count > reserved.length) this.#o.metrics().offloadDropped('present', count - reserved.length);
    if (reserved.length === 0) return;
    const unwritten = new Set(reserved);
    try {
      const written = await this.#copy(job, reserved, unwritten);
      await this.#commit(attachment, written);
      this.#o.metrics().copiedOut(performance.now() - startMs);
    } finally {
      if (unwritten.size > 0) await this.#giveBack(attachment, [...unwritten]);
    }
  }

  /** Copies blocks into their slots, as far as the engine has them; what is written leaves `unwritten`. */
  async #copy(job: Job, reserved: readonly Reserved[], unwritten: Set<Reserved>): Promise<readonly SlabBlock[]> {
    const { attachment, prefix } = job;
    const { kv, metrics } = this.#o;
    const { blockBytes } = kv.format;
    const signal = AbortSignal.any([attachment.signal, this.#ending.signal]);
    const copied: (Reserved & { readonly bytes: number })[] = [];
    for (const run of runsOf(reserved)) {
      const spans = run.map(({ slot }) => attachment.slab.span(slot, blockBytes));
      const bytes = await kv.exportBlocks(prefix, run[0]?.block ?? 0, spans, signal);
      for (const [i, one] of run.slice(0, bytes.length).entries()) copied.push({ ...one, bytes: bytes[i] ?? 0 });
      if (bytes.length < run.length) metrics().offloadDropped('evicted', run.length - bytes.length);
    }
    const checksums = await attachment.checksums(copied);
    if (attachment.identity(prefix) !== job.identity)
      throw new StatorError('conflict', `adapter ${prefix.adapter} is another one by now`);
    const written = new Set(copied.map(({ slot }) => slot));
    for (const one of reserved) if (written.has(one.slot)) unwritten.delete(one);
    return copied.map(({ slot, generation, bytes }, i) => ({ slot, generation, bytes, checksum: checksums[i] ?? 0n }));
  }

  async #commit(attachment: Attachment, written: readonly SlabBlock[]): Promise<void> {
    const { metrics } = this.#o;
    if (written.length === 0) return;
    const outcomes = await attachment.commit(written);
    for (const [i, { bytes }] of written.entries()) {
      const drop = drops[outcomes[i] ?? CommitOutcome.UNSPECIFIED];
      if (drop === undefined) metrics().offloaded(1, bytes);
      else metrics().offloadDropped(drop, 1);
    }
  }

  async #giveBack(attachment: Attachment, unwritten: readonly Reserved[]): Promise<void> {
    const tickets = { slots: unwritten.map(({ slot }) => slot), generations: unwritten.map((one) => one.generation) };
    await attachment
      .abort(tickets)
      .catch((thrown: unknown) => this.#o.log.debug({ err: thrown }, 'reserved slots were not given back'));
  }

  #groupsOf(batch: readonly OffloadItem[]): Group[] {
    const groups: Group[] = [];
    for (const item of batch) {
      const place = this.#places.get(item);
      if (place === undefined) continue;
      const { job, block } = place;
      const last = groups.at(-1);
      if (last?.job === job && last.from + last.count === block && last.priority === item.priority) last.count++;
      else groups.push({ job, from: block, count: 1, priority: item.priority });
    }
    return groups;
  }

  #lost(thrown: unknown, blocks: number, attachment: Attachment): void {
    const { metrics, log } = this.#o;
    const isOver = this.#ending.signal.aborted;
    const isGone = attachment.signal.aborted || attachment !== this.#o.current();
    const isFull = StatorError.from(thrown).code === 'overloaded';
    const reason: OffloadDrop = isOver ? 'stopped' : isGone ? 'detached' : isFull ? 'refused' : 'failed';
    metrics().offloadDropped(reason, blocks);
    if (reason === 'failed') log.warn({ err: thrown }, 'KV could not be written back');
  }
}

const drops: Readonly<Partial<Record<CommitOutcome, OffloadDrop>>> = {
  [CommitOutcome.UNSPECIFIED]: 'failed',
  [CommitOutcome.DUPLICATE]: 'duplicate',
  [CommitOutcome.REFUSED]: 'refused',
  [CommitOutcome.REVOKED]: 'revoked',
};

function settle(job: Job, blocks: number): void {
  job.open -= blocks;
  if (job.open === 0) job.release();
}

/** Blocks that follow each other. */
function runsOf(reserved: readonly Reserved[]): Reserved[][] {
  const runs: Reserved[][] = [];
  for (const one of reserved) {
    const last = runs.at(-1);
    if (last !== undefined && last.at(-1)?.block === one.block - 1) last.push(one);
    else runs.push([one]);
  }
  return runs;
}

function stopped(): StatorError {
  return new StatorError('cancelled', 'the worker stops');
}
