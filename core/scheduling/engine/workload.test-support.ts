import { ReferenceKvIndex } from '#core/kv-index/reference-index.ts';
import {
  type EngineLoad,
  type EngineStep,
  type KvChanges,
  kvChangeKinds,
  type SimulatedEngine,
  type SimulatedRequest,
  stepFlags,
} from './engine-model.ts';
import { defaultEngineSettings, type EngineSettings } from './settings.ts';

/** A generator of numbers in [0, 1), the same for the same seed. */
export function random(seed: number): () => number {
  let state = (seed * 2654435761) % 2147483647 || 1;
  return () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483648;
  };
}

export function settingsOf(changes: Partial<EngineSettings> = {}): EngineSettings {
  return {
    ...defaultEngineSettings,
    blockSize: 4,
    totalBlocks: 40,
    maxBatchedTokens: 32,
    contextLength: 256,
    ...changes,
  };
}

/** A request whose prompt begins with `shared` tokens of the family's; its blocks are named after what precedes them. */
export function requestOf(
  id: number,
  o: {
    tokens: number;
    maxTokens: number;
    arrivalMs?: number;
    family?: number;
    shared?: number;
    blockSize?: number;
  } & Pick<Partial<SimulatedRequest>, 'priority' | 'role' | 'bypassPrefixCache'>,
): SimulatedRequest {
  const { tokens, maxTokens, arrivalMs = 0, family = 0, shared = 0, blockSize = 4, ...rest } = o;
  const hashes = BigUint64Array.from({ length: Math.floor(tokens / blockSize) }, (_, index) => {
    const isShared = (index + 1) * blockSize <= shared;
    return (BigInt(isShared ? family + 1 : 1000 + id) << 32n) | BigInt(index + 1);
  });
  return { id, promptTokens: tokens, sequenceHashes: new Uint8Array(hashes.buffer), maxTokens, arrivalMs, ...rest };
}

/** Requests that share prefixes in a few families, arriving over time. */
export function workload(seed: number, count: number, settings: EngineSettings): SimulatedRequest[] {
  const next = random(seed);
  const most = Math.min(settings.contextLength, settings.totalBlocks * settings.blockSize);
  let arrivalMs = 0;
  return Array.from({ length: count }, (_, index) => {
    arrivalMs += next() < 0.5 ? 0 : next() * 60;
    const tokens = 1 + Math.floor(next() * Math.min(most - 1, 70));
    return requestOf(index + 1, {
      tokens,
      maxTokens: 1 + Math.floor(next() * 30),
      arrivalMs,
      family: Math.floor(next() * 3),
      shared: Math.floor(next() * tokens),
      blockSize: settings.blockSize,
    });
  });
}

/** What became of one request. */
export interface Outcome {
  tokens: number;
  /** When each token came. */
  readonly atMs: number[];
  cachedTokens: number;
  finished: boolean;
}

export interface DriveOptions {
  readonly fastForward?: boolean;
  /** Looks at the engine after every step. */
  readonly onStep?: (step: EngineStep, load: EngineLoad) => void;
  readonly onChanges?: (changes: KvChanges) => void;
}

/** Runs all requests to their ends, in virtual time as the simulator would. */
export function drive(engine: SimulatedEngine, requests: readonly SimulatedRequest[], o: DriveOptions = {}): Outcome[] {
  const outcomes = requests.map((): Outcome => ({ tokens: 0, atMs: [], cachedTokens: 0, finished: false }));
  const byId = new Map(requests.map(({ id }, index) => [id, outcomes[index]]));
  let nowMs = 0;
  let next = 0;
  for (let passes = 0; next < requests.length || engine.size > 0; passes++) {
    if (passes > 100_000) throw new Error('the engine does not come to an end');
    for (let request = requests[next]; request !== undefined && request.arrivalMs <= nowMs; request = requests[next]) {
      engine.submit(request, nowMs);
      next++;
    }
    const untilMs = requests[next]?.arrivalMs ?? Number.POSITIVE_INFINITY;
    const run = o.fastForward === true ? engine.run(nowMs, untilMs, 1 + (passes % 50)) : undefined;
    if (run !== undefined) {
      for (let i = 0; i < run.steps; i++) {
        nowMs += run.durationsMs[i] ?? 0;
        for (const id of run.ids.subarray(0, run.count)) give(byId.get(id), 1, nowMs);
      }
      if (nowMs !== run.endMs) throw new Error('the durations of a run do not add up');
      o.onChanges?.(engine.takeKvChanges());
      continue;
    }
    const step = engine.step(nowMs);
    if (step === undefined) {
      const at = Math.min(engine.wakeAtMs ?? Number.POSITIVE_INFINITY, untilMs);
      if (at === Number.POSITIVE_INFINITY) throw new Error('the engine waits for nothing');
      nowMs = at;
      continue;
    }
    nowMs = step.startMs + step.durationMs;
    for (let i = 0; i < step.count; i++) {
      const outcome = byId.get(step.ids[i] ?? 0);
      give(outcome, step.tokens[i] ?? 0, nowMs);
      const flags = step.flags[i] ?? 0;
      if (outcome === undefined) continue;
      if ((flags & stepFlags.first) !== 0) outcome.cachedTokens = step.cachedTokens[i] ?? 0;
      if ((flags & stepFlags.finished) !== 0) outcome.finished = true;
    }
    o.onStep?.(step, engine.load);
    o.onChanges?.(engine.takeKvChanges());
  }
  return outcomes;
}

function give(outcome: Outcome | undefined, tokens: number, atMs: number): void {
  if (outcome === undefined) throw new Error('tokens for a request that is not known');
  if (outcome.finished) throw new Error('tokens after the end');
  outcome.tokens += tokens;
  for (let i = 0; i < tokens; i++) outcome.atMs.push(atMs);
}

/** Follows changes in the reference index, as a router would, and complains about what contradicts itself. */
export class CacheFollower {
  readonly index = new ReferenceKvIndex({ maxBlocks: 1_000_000 });
  readonly slot = this.index.addSlot();
  readonly events: string[] = [];
  /** The block before each block, which must be the same whenever it is stored. */
  readonly #parents = new Map<bigint, bigint | undefined>();

  apply(changes: KvChanges): void {
    for (let i = 0; i < changes.count; i++) {
      const from = 8 * (i === 0 ? 0 : (changes.ends[i - 1] ?? 0));
      const hashes = changes.sequenceHashes.slice(from, 8 * (changes.ends[i] ?? 0));
      const tier = changes.tiers[i] ?? 0;
      const parents = new DataView(changes.parents.buffer, changes.parents.byteOffset);
      const parent = (changes.startBlocks[i] ?? 0) > 0 ? parents.getBigUint64(8 * i, true) : undefined;
      const isStored = changes.kinds[i] === kvChangeKinds.stored;
      const counts = isStored
        ? this.index.store(this.slot, tier, parent, hashes)
        : this.index.remove(this.slot, tier, hashes);
      if (isStored) this.#chain(parent, new BigUint64Array(hashes.buffer));
      if (counts.duplicates > 0) throw new Error(`${counts.duplicates} blocks stored twice`);
      if (counts.unmatchedRemovals > 0)
        throw new Error(`${counts.unmatchedRemovals} blocks removed that were not there`);
      this.events.push(`${changes.kinds[i]} ${tier} ${parent ?? '-'} ${hashes.join()} ${changes.atMs[i]}`);
    }
  }

  #chain(parent: bigint | undefined, hashes: BigUint64Array): void {
    let before = parent;
    for (const hash of hashes) {
      if (this.#parents.has(hash) && this.#parents.get(hash) !== before)
        throw new Error(`${hash} is stored after ${before}, and was after ${this.#parents.get(hash)}`);
      this.#parents.set(hash, before);
      before = hash;
    }
  }

  /** Tier and hash of every block there is. */
  blocks(): string[] {
    const { events } = this.index.dump(undefined, 10_000_000);
    return events.map(({ tier, hashes }) => `${tier} ${hashes.join()}`).sort();
  }
}

/** Tier and hash of every block of an engine's snapshot. */
export function snapshotBlocks(engine: SimulatedEngine): string[] {
  const follower = new CacheFollower();
  for (const changes of engine.kvSnapshot()) follower.apply(changes);
  return follower.blocks();
}
