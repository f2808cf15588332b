import type { Logger } from 'pino';
import type { GenerateRequest } from '#gen/stator/engine/v1/generate_pb.ts';
import { BlockTier, OnboardEnd, type OnboardResponse } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { prefixDigests } from '#lib/kv/prefix-digest.ts';
import type { EngineKv, KvHold, KvPrefix } from '../engine-kv.ts';
import type { KvSource } from '../kv-admission.ts';
import { reusableBlocks } from '../kv-prefix.ts';
import { type Attachment, chainOf } from './attachment.ts';
import type { KvTierMetrics, OnboardDrop } from './metrics.ts';
import { Turns } from './turns.ts';

export interface TierSourceOptions {
  readonly kv: EngineKv;
  readonly current: () => Attachment | undefined;
  readonly metrics: () => KvTierMetrics;
  readonly log: Logger;
  readonly isOn: boolean;
  /** Sequences that onboard at once; others wait, and their blocks are brought into host memory meanwhile. */
  readonly maxOnboards: number;
  /** Milliseconds after which the rest of a prompt is computed. */
  readonly timeoutMs: number;
  /** What computing a block takes; undefined: unknown, everything that is found is brought. */
  readonly recomputeBlockUs: () => number | undefined;
}

/** Blocks that the block manager has pinned in the slab. */
interface Run {
  readonly leaseId: bigint;
  readonly slots: readonly number[];
  readonly generations: readonly number[];
  readonly checksums: readonly bigint[];
  readonly bytes: readonly number[];
  readonly tiers: Uint8Array;
}

/** Brings leading blocks of prompts from the block manager's tiers into the engine. */
export class TierSource implements KvSource {
  readonly name = 'tiers';
  readonly #o: TierSourceOptions;
  readonly #turns: Turns;

  constructor(options: TierSourceOptions) {
    this.#o = options;
    this.#turns = new Turns(options.maxOnboards);
  }

  get onboarding(): number {
    return this.#turns.running;
  }

  concerns({ tokenIds }: GenerateRequest): boolean {
    const attachment = this.#o.isOn ? this.#o.current() : undefined;
    if (attachment === undefined || attachment.isSilent) return false;
    return tokenIds.length > this.#o.kv.format.blockTokens;
  }

  async fetch(request: GenerateRequest, prefix: KvPrefix, signal: AbortSignal): Promise<KvHold | null> {
    const attachment = this.#o.current();
    if (attachment === undefined) return null;
    const { blockTokens } = this.#o.kv.format;
    const deadlineMs = performance.now() + this.#o.timeoutMs;
    const course = new Course(attachment, prefix, {
      wanted: reusableBlocks(request.tokenIds.length, blockTokens),
      digests: prefixDigests(prefix.tokenIds, blockTokens),
      signal: AbortSignal.any([signal, attachment.signal]),
      deadlineMs,
    });
    if (this.#turns.isFull) this.#hint(course);
    const over = await this.#turns.take(signal);
    try {
      return await attachment.use(() => this.#onboard(course, signal));
    } finally {
      over();
    }
  }

  /** The prompt waits: its blocks may come into host memory meanwhile. */
  #hint(course: Course): void {
    const { attachment, prefix } = course;
    this.#o.metrics().prefetchHint();
    attachment
      .namespace(prefix)
      .then((namespace) => attachment.prefetch(course.chain(namespace, this.#o.kv.cachedBlocks(prefix))))
      .catch((thrown: unknown) => this.#o.log.debug({ err: thrown }, 'a prefetch hint was lost'));
  }

  async #onboard(course: Course, signal: AbortSignal): Promise<KvHold | null> {
    const { attachment, prefix } = course;
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), Math.max(0, course.deadlineMs - performance.now()));
    let end = 'failed';
    try {
      const namespace = await attachment.namespace(prefix);
      end = await this.#receive(course, namespace, AbortSignal.any([course.signal, late.signal]));
    } catch (thrown) {
      end = this.#problemOf(thrown, course, late.signal);
    } finally {
      clearTimeout(timer);
      this.#o.metrics().onboardEnd(end);
    }
    if (!signal.aborted) return course.hold ?? null;
    course.hold?.release();
    return null;
  }

  /** Takes runs in until the block manager has no more, or one does not enter; returns how it ended. */
  async #receive(course: Course, namespace: number, signal: AbortSignal): Promise<string> {
    const { attachment, prefix, wanted, deadlineMs } = course;
    const { kv, recomputeBlockUs } = this.#o;
    const first = kv.cachedBlocks(prefix);
    if (first >= wanted) return 'cached';
    course.next = first;
    const timeoutMs = deadlineMs - performance.now();
    const options = { timeoutMs, recomputeBlockUs: recomputeBlockUs(), signal };
    for await (const message of attachment.onboard(course.chain(namespace, first), options)) {
      attachment.isSilent = false;
      if (message.slots.length > 0) {
        if (message.from !== course.next - first) throw new StatorError('internal', 'the block manager skipped blocks');
        const whole = await this.#takeIn(course, runOf(message), signal);
        if (!whole) return 'stopped';
      }
      if (message.end !== OnboardEnd.UNSPECIFIED) return endNames[message.end] ?? 'unknown';
    }
    throw new StatorError('worker_unavailable', 'the block manager ended the stream too early');
  }

  /** Copies a run into the engine and then looks whether it was what it should be; false: not all of it was. */
  async #takeIn(course: Course, run: Run, signal: AbortSignal): Promise<boolean> {
    const { attachment, prefix, next } = course;
    const { kv, metrics } = this.#o;
    const startMs = performance.now();
    const suspects: number[] = [];
    try {
      const spans = run.slots.map((slot, i) => attachment.slab.span(slot, run.bytes[i] ?? 0));
      const entered = await kv.importBlocks(prefix, next, spans, signal);
      let sound = 0;
      try {
        sound = await this.#soundOf(attachment, run, suspects);
        if (attachment.identity(prefix) !== course.identity)
          throw new StatorError('conflict', `adapter ${prefix.adapter} is another one by now`);
      } catch (thrown) {
        entered.discard();
        throw thrown;
      }
      course.keep(await entered.accept(sound), next + sound);
      metrics().copiedIn(performance.now() - startMs);
      for (let i = 0; i < sound; i++)
        metrics().onboarded((run.tiers[i] ?? BlockTier.UNSPECIFIED) as BlockTier, 1, run.bytes[i] ?? 0);
      return sound === run.slots.length;
    } finally {
      attachment.release(run.leaseId, suspects);
    }
  }

  /**
   * How many leading blocks of a run were what they should be while they were copied: their bytes match, and afterwards still
   * nobody else had been given their slots.
   */
  async #soundOf(attachment: Attachment, run: Run, suspects: number[]): Promise<number> {
    const found = await attachment.checksums(run.slots.map((slot, i) => ({ slot, bytes: run.bytes[i] ?? 0 })));
    const { slots } = run;
    for (const [i, slot] of slots.entries()) {
      const isCurrent = attachment.slab.isCurrent(slot, run.generations[i] ?? 0);
      if (isCurrent && found[i] === run.checksums[i]) continue;
      if (isCurrent) suspects.push(slot);
      this.#o.metrics().onboardDropped(isCurrent ? 'wrong_bytes' : 'stale', slots.length - i);
      this.#o.log.warn({ slot }, isCurrent ? 'a KV block has wrong bytes' : 'a KV block went while it was copied');
      return i;
    }
    return slots.length;
  }

  #problemOf(thrown: unknown, course: Course, late: AbortSignal): string {
    if (late.aborted) {
      // Nothing at all came: nobody asks again before there is a sign of life.
      if (course.hold === undefined) course.attachment.isSilent = true;
      this.#o.metrics().onboardDropped('late', course.wanted - course.next);
      return 'late';
    }
    if (course.signal.aborted) return 'cancelled';
    const { code } = StatorError.from(thrown);
    const drop: OnboardDrop = dropOf[code] ?? 'failed';
    this.#o.metrics().onboardDropped(drop, course.wanted - course.next);
    if (drop === 'failed' || drop === 'refused') this.#o.log.warn({ err: thrown }, 'KV could not be onboarded');
    return drop;
  }
}

/** Where the engine stands when it does not take blocks. */
const dropOf: Readonly<Record<string, OnboardDrop>> = {
  overloaded: 'no_room',
  conflict: 'lost_parent',
  invalid_argument: 'refused',
};

const endNames: Readonly<Record<OnboardEnd, string>> = {
  [OnboardEnd.UNSPECIFIED]: 'unspecified',
  [OnboardEnd.COMPLETE]: 'complete',
  [OnboardEnd.MISSING]: 'missing',
  [OnboardEnd.FAILED]: 'failed',
  [OnboardEnd.LATE]: 'late',
  [OnboardEnd.FULL]: 'full',
};

/** One prompt's way into the engine. */
class Course {
  readonly attachment: Attachment;
  readonly prefix: KvPrefix;
  readonly wanted: number;
  readonly signal: AbortSignal;
  readonly deadlineMs: number;
  readonly #digests: Uint8Array;
  readonly identity: string | null;
  /** Block that comes next. */
  next = 0;
  hold: KvHold | undefined;

  constructor(
    attachment: Attachment,
    prefix: KvPrefix,
    o: {
      readonly wanted: number;
      readonly digests: Uint8Array;
      readonly signal: AbortSignal;
      readonly deadlineMs: number;
    },
  ) {
    this.attachment = attachment;
    this.prefix = prefix;
    this.wanted = o.wanted;
    this.signal = o.signal;
    this.deadlineMs = o.deadlineMs;
    this.#digests = o.digests;
    this.identity = attachment.identity(prefix);
  }

  chain(namespace: number, from: number) {
    return chainOf(namespace, this.prefix, this.#digests, Math.min(from, this.wanted), this.wanted);
  }

  /** The newest hold has everything that those before it have. */
  keep(hold: KvHold, next: number): void {
    this.hold?.release();
    this.hold = hold;
    this.next = next;
  }
}

function runOf({ leaseId, slots, generations, checksums, bytes, tiers }: OnboardResponse): Run {
  return { leaseId, slots, generations, checksums, tiers, bytes: bytes.map(Number) };
}
