import type {
  EngineLoad,
  EngineRun,
  EngineStep,
  KvChanges,
  SimulatedEngine,
  SimulatedRequest,
} from './engine-model.ts';
import { RequestRejectedError, stepFlags } from './engine-model.ts';
import { EngineState } from './engine-state.ts';
import { fastForward } from './fast-forward.ts';
import { KvCache } from './kv-cache.ts';
import { KvExchange } from './kv-exchange.ts';
import { snapshotOf } from './kv-snapshot.ts';
import { PassDuration } from './pass-duration.ts';
import type { Scheduler } from './scheduler.ts';
import { EngineSequence } from './sequence.ts';
import type { EngineKind, EngineSettings, OutputHasher, TimingModel } from './settings.ts';
import { SglangScheduler } from './sglang-scheduler.ts';
import { Speculation } from './speculation.ts';
import { StepColumns } from './step-columns.ts';
import { syntheticOutputHasher } from './synthetic-hasher.ts';
import { polynomialTiming } from './timing.ts';
import { TrtllmScheduler } from './trtllm-scheduler.ts';
import { VllmScheduler } from './vllm-scheduler.ts';
import { WaitQueue } from './wait-queue.ts';

export interface EngineParts {
  /** Default: the polynomials of Dynamo's mocker. */
  readonly timing?: TimingModel;
  /** Default: hashes that no other sequence has. */
  readonly hasher?: OutputHasher;
}

/** Throws RangeError for settings with which nothing could run. */
export function createSimulatedEngine(settings: EngineSettings, parts: EngineParts = {}): SimulatedEngine {
  return new Engine(settings, parts);
}

const schedulers: Readonly<Record<EngineKind, (settings: EngineSettings) => Scheduler>> = {
  vllm: () => new VllmScheduler(),
  sglang: (settings) => new SglangScheduler(settings),
  trtllm: () => new TrtllmScheduler(),
};

class Engine implements SimulatedEngine {
  readonly exchange: KvExchange;
  readonly #settings: EngineSettings;
  readonly #cache: KvCache;
  readonly #state: EngineState;
  readonly #scheduler: Scheduler;
  readonly #duration: PassDuration;
  readonly #speculation: Speculation | undefined;
  readonly #columns: StepColumns;
  readonly #sequences = new Map<number, EngineSequence>();
  /** Finished prefills whose blocks wait for the decoder. */
  readonly #handoffs = new Map<number, EngineSequence>();
  /** Tokens of prompt and output that can be. */
  readonly #limit: number;

  constructor(settings: EngineSettings, parts: EngineParts) {
    checkSettings(settings);
    this.#settings = settings;
    this.#cache = new KvCache(settings, parts.hasher ?? syntheticOutputHasher(settings.seed));
    this.#state = new EngineState(settings, this.#cache, new WaitQueue());
    this.exchange = new KvExchange(this.#cache.pool, this.#cache.log, () => this.#state.admitted);
    this.#scheduler = schedulers[settings.kind](settings);
    this.#duration = new PassDuration(settings, parts.timing ?? polynomialTiming);
    this.#speculation = settings.acceptRates.length > 0 ? new Speculation(settings) : undefined;
    this.#columns = new StepColumns(settings.maxSequences);
    const pool = settings.totalBlocks * settings.blockSize;
    const pass = settings.chunkedPrefill ? Number.POSITIVE_INFINITY : settings.maxBatchedTokens;
    this.#limit = Math.min(settings.contextLength, pool, pass);
  }

  get size(): number {
    return this.#sequences.size;
  }

  get load(): EngineLoad {
    const { pool } = this.#cache;
    return {
      running: this.#state.admitted,
      waiting: this.#state.waiting.size,
      activeBlocks: pool.active,
      cachedBlocks: pool.idle,
      totalBlocks: pool.total,
      pendingPrefillTokens: this.#state.pendingPrefill,
    };
  }

  get wakeAtMs(): number | undefined {
    let wakeAtMs: number | undefined;
    for (const { readyMs } of this.#state.transferring)
      if (wakeAtMs === undefined || readyMs < wakeAtMs) wakeAtMs = readyMs;
    return wakeAtMs;
  }

  submit(request: SimulatedRequest, _nowMs: number): void {
    this.#check(request);
    const room = this.#limit - request.promptTokens;
    const sequence = new EngineSequence(request, Math.min(request.maxTokens, room), this.#settings.blockSize);
    this.#sequences.set(sequence.id, sequence);
    this.#state.waiting.add(sequence);
    this.#state.pendingPrefill += sequence.pendingPrefill;
  }

  cancel(id: number): boolean {
    const sequence = this.#sequences.get(id);
    if (sequence === undefined) return this.releaseHandoff(id);
    const { waiting, running, transferring } = this.#state;
    this.#sequences.delete(id);
    this.#state.pendingPrefill -= sequence.pendingPrefill;
    if (sequence.state === 'waiting') waiting.remove(sequence);
    else {
      const list = sequence.state === 'running' ? running : transferring;
      list.splice(list.indexOf(sequence), 1);
      this.#cache.release(sequence);
    }
    sequence.state = 'over';
    return true;
  }

  releaseHandoff(id: number): boolean {
    const sequence = this.#handoffs.get(id);
    if (sequence === undefined) return false;
    this.#handoffs.delete(id);
    this.#cache.release(sequence);
    sequence.state = 'over';
    return true;
  }

  step(nowMs: number): EngineStep | undefined {
    const state = this.#state;
    const { pass } = state;
    do {
      state.beginPass();
      state.startTransferred(nowMs);
      this.#scheduler.plan(state, nowMs);
      // Whoever gave up its blocks may have them back if nobody else wanted them.
    } while (pass.sequences.length === 0 && pass.preempted);
    if (pass.sequences.length === 0) return undefined;
    this.#scheduler.passed?.(1);
    const columns = this.#columns;
    columns.begin(pass.sequences.length);
    const durationMs = this.#duration.of(state);
    this.#cache.log?.stamp(nowMs);
    const activeBlocks = this.#cache.pool.active;
    for (const sequence of pass.sequences) {
      sequence.scheduled = 0;
      if (sequence.computed === sequence.length) this.#emit(sequence);
    }
    if (columns.finished > 0) this.#dropFinished();
    const { waiting } = state;
    return columns.step(nowMs, durationMs, {
      prefillSequences: pass.prefillSequences,
      prefillTokens: pass.prefillTokens,
      decodeSequences: pass.decodeSequences,
      decodeContextTokens: pass.decodeContextTokens,
      queuedSequences: waiting.size,
      queuedTokens: waiting.tokens,
      activeBlocks,
    });
  }

  run(nowMs: number, untilMs: number, maxSteps: number): EngineRun | undefined {
    if (this.#speculation !== undefined || this.#state.transferring.length > 0) return undefined;
    if (!this.#scheduler.steady(this.#state)) return undefined;
    const run = fastForward(this.#state, this.#duration, { nowMs, untilMs, maxSteps });
    if (run !== undefined) this.#scheduler.passed?.(run.steps);
    return run;
  }

  clearCache(): number {
    const blocks = this.#cache.clear();
    this.#cache.log?.stamp(0);
    return blocks;
  }

  takeKvChanges(): KvChanges {
    return this.#cache.takeChanges();
  }

  kvSnapshot(): Iterable<KvChanges> {
    return snapshotOf(this.#cache);
  }

  /** The sequence's KV is complete: it gets its next token, or several. */
  #emit(sequence: EngineSequence): void {
    let tokens = Math.min(1, sequence.remainingTokens);
    if (this.#speculation !== undefined && sequence.role !== 'prefill')
      tokens = this.#speculation.tokens(sequence.remainingTokens);
    sequence.outputTokens += tokens;
    let flags = 0;
    if (!sequence.announced) {
      sequence.announced = true;
      flags |= stepFlags.first;
    }
    if (sequence.role === 'prefill') {
      flags |= stepFlags.finished | stepFlags.handoff;
      sequence.state = 'handoff';
    } else if (sequence.remainingTokens === 0) {
      flags |= stepFlags.finished;
      sequence.state = 'over';
    }
    this.#columns.add(sequence, tokens, flags);
  }

  /** Finished sequences leave; prefills keep their blocks. */
  #dropFinished(): void {
    const { running, pass } = this.#state;
    let kept = 0;
    for (const sequence of running) if (sequence.state === 'running') running[kept++] = sequence;
    running.length = kept;
    for (const sequence of pass.sequences) {
      if (sequence.state === 'running') continue;
      this.#sequences.delete(sequence.id);
      if (sequence.state === 'handoff') this.#handoffs.set(sequence.id, sequence);
      else this.#cache.release(sequence);
    }
  }

  #check({ id, promptTokens }: SimulatedRequest): void {
    const reject = (reason: RequestRejectedError['reason'], message: string, actual: number, limit: number): never => {
      throw new RequestRejectedError(reason, message, { actual, limit });
    };
    const { contextLength, totalBlocks, blockSize, maxBatchedTokens, chunkedPrefill } = this.#settings;
    if (promptTokens < 1) reject('empty_prompt', 'the prompt has no tokens', promptTokens, 1);
    if (this.#sequences.has(id) || this.#handoffs.has(id))
      reject('duplicate_id', `request ${id} is there already`, id, 0);
    if (promptTokens >= contextLength)
      reject(
        'longer_than_context',
        `the prompt has ${promptTokens} tokens, which leaves no room in a context of ${contextLength}`,
        promptTokens,
        contextLength,
      );
    const pool = totalBlocks * blockSize;
    if (promptTokens >= pool)
      reject('longer_than_pool', `the prompt has ${promptTokens} tokens, all blocks hold ${pool}`, promptTokens, pool);
    if (!chunkedPrefill && promptTokens >= maxBatchedTokens)
      reject(
        'longer_than_pass',
        `the prompt has ${promptTokens} tokens, a pass ${maxBatchedTokens}, and prompts are not computed in chunks`,
        promptTokens,
        maxBatchedTokens,
      );
  }
}

function checkSettings(settings: EngineSettings): void {
  const { blockSize, totalBlocks, maxSequences, maxBatchedTokens, contextLength, speedup, decodeSpeedup } = settings;
  const counts = { blockSize, totalBlocks, maxSequences, maxBatchedTokens, contextLength };
  for (const [name, value] of Object.entries(counts))
    if (!Number.isSafeInteger(value) || value < 1)
      throw new RangeError(`${name} must be a positive integer, not ${value}`);
  if (!(speedup >= 0)) throw new RangeError(`speedup must not be negative, not ${speedup}`);
  if (!(decodeSpeedup > 0)) throw new RangeError(`decodeSpeedup must be above 0, not ${decodeSpeedup}`);
  for (const rate of settings.acceptRates)
    if (!(rate >= 0 && rate <= 1)) throw new RangeError(`acceptRates must lie between 0 and 1, not ${rate}`);
}
