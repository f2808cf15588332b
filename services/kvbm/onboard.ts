import { BlockError } from '#core/blocks/block-error.ts';
import type { BlockManager } from '#core/blocks/block-manager.ts';
import type { BlockChain } from '#core/blocks/chain.ts';
import { Onboarding } from '#core/blocks/onboarding/onboarding.ts';
import { type OnboardPlan, planOnboarding, type Segment, type SourceCost } from '#core/blocks/onboarding/plan.ts';
import { type Lease, nowhere } from '#core/blocks/reading.ts';
import { tiers } from '#core/blocks/tiers.ts';
import { OnboardEnd } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { partOf } from './chain.ts';
import type { HostTier } from './host-tier.ts';
import type { Layout } from './layout.ts';
import { tierNames } from './names.ts';
import type { BlockSource } from './tiers.ts';
import { wakened } from './waiting.ts';

/** Blocks of a prompt that are pinned in host memory for the caller. */
export interface ReadyRun {
  readonly lease: Lease;
  /** Index in the chain of the first. */
  readonly from: number;
  readonly count: number;
  /** Where they came from: a tier index or `peerSource`. */
  readonly source: number;
}

export interface OnboardParts {
  readonly manager: BlockManager;
  readonly host: HostTier;
  readonly sources: readonly BlockSource[];
  readonly nowMs: () => number;
  readonly onLoad: (source: number, blocks: number, bytes: number, seconds: number) => void;
}

export interface OnboardOrder {
  readonly holder: number;
  readonly layout: Layout;
  readonly chain: BlockChain;
  readonly deadlineMs: number;
  /** Unset: everything that is found is worth its time. */
  readonly recomputeBlockMs: number | undefined;
  readonly window: number;
  readonly maxLoad: number;
  readonly loadsPerSource: number;
  readonly findTimeoutMs: number;
  readonly signal: AbortSignal;
}

/** Why an Onboard took what it took, for its trace and the log. */
export interface OnboardReport {
  readonly askedBlocks: number;
  /** Blocks found, by source. */
  readonly foundBlocks: Record<string, number>;
  /** Blocks that the plans wanted to load. */
  plannedBlocks: number;
  handedBlocks: number;
  /** Until everything planned was there and the rest computed, as the first plan reckoned; and computing everything. */
  expectedMs: number | undefined;
  recomputeMs: number | undefined;
  /** Why the last load that failed did. */
  failure: string | undefined;
}

/** What is in host memory is there at once, beside everything else. */
const hostCost: SourceCost = { latencyMs: 0, blockMs: 0.01 };

/** Longer than any load: then everything that is found is loaded. */
const endlessMs = 1e9;

/**
 * One Onboard: plans, loads what is not in host memory, pins, and gives runs in the order of the prompt. What is pinned and
 * was not given is released at the end.
 */
export class OnboardRun {
  readonly #parts: OnboardParts;
  readonly #order: OnboardOrder;
  readonly #pinned: ReadyRun[] = [];
  readonly #ended = new AbortController();
  #wake: () => void = () => {};
  #problem: OnboardEnd = OnboardEnd.FAILED;
  #handed = 0;

  readonly report: OnboardReport;

  constructor(parts: OnboardParts, order: OnboardOrder) {
    this.#parts = parts;
    this.#order = order;
    const unknown = { expectedMs: undefined, recomputeMs: undefined, failure: undefined };
    const askedBlocks = order.chain.sequenceHashes.length;
    this.report = { askedBlocks, foundBlocks: {}, plannedBlocks: 0, handedBlocks: 0, ...unknown };
  }

  /** Runs of pinned blocks; returns why it ended. */
  async *run(): AsyncGenerator<ReadyRun, OnboardEnd> {
    const { manager, sources } = this.#parts;
    const { chain, findTimeoutMs } = this.#order;
    try {
      const found = manager.match(chain.namespace, chain.digests);
      const total = chain.sequenceHashes.length;
      const more = found.length < total && sources.length > 0 ? this.#findMore(found.length, findTimeoutMs) : undefined;
      const first = yield* this.#phase(found);
      if (first !== OnboardEnd.COMPLETE || more === undefined) return this.#conclude(first);
      const beyond = await more;
      if (beyond === undefined || this.#handed < found.length) return this.#conclude(first);
      const wanted = Uint8Array.from({ length: beyond.count }, () => beyond.source);
      // Some of what was found may have come into another tier meanwhile.
      const local = manager.scan(chain.namespace, partOf(chain, found.length, beyond.count).digests);
      for (const [at, tier] of local.entries()) if (tier !== nowhere) wanted[at] = tier;
      return this.#conclude(yield* this.#phase(wanted));
    } finally {
      this.#ended.abort();
      for (const { lease } of this.#pinned) this.#release(lease);
    }
  }

  #conclude(end: OnboardEnd): OnboardEnd {
    const whole = this.#handed === this.#order.chain.sequenceHashes.length;
    return end === OnboardEnd.COMPLETE && !whole ? OnboardEnd.MISSING : end;
  }

  /** Blocks that lie in these sources, from the next one that was not handed over on. */
  async *#phase(found: Uint8Array): AsyncGenerator<ReadyRun, OnboardEnd> {
    const { nowMs } = this.#parts;
    const { chain, window, loadsPerSource, deadlineMs, recomputeBlockMs = endlessMs } = this.#order;
    // What is in host memory is pinned at once: nothing would come sooner in parts.
    const maxLoad = found.every((source) => source === tiers.host) ? window : this.#order.maxLoad;
    const offset = this.#handed;
    const rest = chain.sequenceHashes.length - offset;
    const plan = planOnboarding(found, rest, this.#costs(), recomputeBlockMs);
    this.#explain(found, plan);
    const course = new Onboarding(plan, { maxLoad, window, loadsPerSource, deadlineMs });
    for (;;) {
      if (this.#order.signal.aborted) return OnboardEnd.FAILED;
      for (const segment of course.begin(nowMs())) void this.#load(course, segment, offset);
      const ready = course.hand();
      if (ready !== null) yield* this.#hand(offset + ready.from, ready.count);
      else if (course.isDone) break;
      else await this.#news(deadlineMs - nowMs());
    }
    if (this.#handed - offset >= plan.blocks) return OnboardEnd.COMPLETE;
    return nowMs() >= deadlineMs ? OnboardEnd.LATE : this.#problem;
  }

  async #load(course: Onboarding, { source, from, count }: Segment, offset: number): Promise<void> {
    const start = this.#parts.nowMs();
    let sound = 0;
    try {
      sound =
        source === tiers.host
          ? await this.#fromHost(offset + from, count)
          : await this.#fromBelow(source, offset + from, count);
    } catch (error) {
      this.report.failure = error instanceof Error ? error.message : String(error);
      this.#problem = error instanceof BlockError && error.code === 'arena_full' ? OnboardEnd.FULL : OnboardEnd.FAILED;
    }
    const { blockBytes } = this.#order.layout;
    this.#parts.onLoad(source, sound, sound * blockBytes, (this.#parts.nowMs() - start) / 1000);
    course.finish(from, Math.min(sound, count));
    this.#wake();
  }

  /** Pins what host memory has, and verifies what an earlier life left. */
  async #fromHost(from: number, count: number): Promise<number> {
    const { host } = this.#parts;
    const { chain } = this.#order;
    const pinned = this.#pin(from, count, tiers.host);
    if (pinned === undefined) return 0;
    // The lease may also hold blocks behind one that left meanwhile.
    return Math.min(pinned.count, await host.verified(pinned.lease, chain.namespace, chain.digests));
  }

  async #fromBelow(source: number, from: number, count: number): Promise<number> {
    const { chain, layout, deadlineMs, signal } = this.#order;
    const below = this.#parts.sources.find((one) => one.source === source);
    if (below === undefined) return 0;
    let pinned = 0;
    const loaded = (first: number, blocks: number): void => {
      if (first === from + pinned) pinned += this.#pin(first, blocks, source)?.count ?? 0;
    };
    const both = AbortSignal.any([signal, this.#ended.signal]);
    await below.load({ chain, layout, from, count, priority: 0, deadlineMs, signal: both, loaded });
    return pinned;
  }

  /** Pins consecutive blocks, as far as they are there. */
  #pin(from: number, count: number, source: number): ReadyRun | undefined {
    if (this.#ended.signal.aborted) return undefined;
    const { host } = this.#parts;
    const { holder, chain } = this.#order;
    const wanted = Array.from({ length: count }, (_, at) => from + at);
    const lease = host.pin(holder, chain.namespace, chain.digests, wanted);
    const gap = lease.blocks.findIndex((block, at) => block !== from + at);
    const run = { lease, from, count: gap < 0 ? lease.blocks.length : gap, source };
    this.#pinned.push(run);
    return run;
  }

  /** Gives the pinned runs that make up these blocks; the caller owns their leases from then on. */
  *#hand(from: number, count: number): Generator<ReadyRun> {
    for (let next = from; next < from + count; ) {
      const at = this.#pinned.findIndex((run) => run.from === next && run.count > 0);
      const run = this.#pinned[at];
      if (run === undefined) throw new RangeError(`block ${next} is ready and not pinned`);
      this.#pinned.splice(at, 1);
      const most = Math.min(run.count, from + count - next);
      next += most;
      this.#handed = next;
      this.report.handedBlocks = next;
      yield { ...run, count: most };
    }
  }

  #explain(found: Uint8Array, { blocks, expectedMs, recomputeMs }: OnboardPlan): void {
    const { report } = this;
    for (const source of found) {
      const name = tierNames[source] ?? 'peer';
      report.foundBlocks[name] = (report.foundBlocks[name] ?? 0) + 1;
    }
    report.plannedBlocks += blocks;
    if (this.#order.recomputeBlockMs === undefined) return;
    report.expectedMs ??= expectedMs;
    report.recomputeMs ??= recomputeMs;
  }

  #costs(): (SourceCost | undefined)[] {
    const { sources } = this.#parts;
    const { blockBytes } = this.#order.layout;
    const costs: (SourceCost | undefined)[] = [hostCost];
    for (const source of sources) costs[source.source] = source.cost(blockBytes);
    return costs;
  }

  /** The most that one source has beyond what the manager knows of. */
  async #findMore(from: number, timeoutMs: number): Promise<{ source: number; count: number } | undefined> {
    const { chain, layout, signal } = this.#order;
    const both = AbortSignal.any([signal, this.#ended.signal, AbortSignal.timeout(timeoutMs)]);
    const asked = this.#parts.sources.map(async (one) => {
      const count = await one.find(chain, layout, from, both).catch(() => 0);
      return { source: one.source, count };
    });
    const late = new Promise<undefined>((resolve) =>
      both.addEventListener('abort', () => resolve(undefined), { once: true }),
    );
    const answers = await Promise.all(asked.map((one) => Promise.race([one, late])));
    const best = answers.filter((one) => one !== undefined).toSorted((a, b) => b.count - a.count)[0];
    return best === undefined || best.count === 0 ? undefined : best;
  }

  #news(timeoutMs: number): Promise<void> {
    return wakened(timeoutMs, this.#order.signal, (wake) => {
      this.#wake = wake;
    });
  }

  #release(lease: Lease): void {
    try {
      this.#parts.host.release(this.#order.holder, lease.id);
    } catch (error) {
      // The holder's stream ended meanwhile, and its leases with it.
      if (!(error instanceof BlockError)) throw error;
    }
  }
}
