import {
  type EngineHandle,
  type EngineOptions,
  engineCancel,
  engineCreate,
  engineStop,
  engineSubmit,
  type ModelHandle,
  type NativeFinished,
  type NativeKvChange,
  type NativePositionLogprobs,
  type NativePrefilled,
  type NativeStep,
  type SubmitRequest,
  vocabTokenBytes,
  vocabTokenize,
} from '../index.ts';

/** One thread and no flash attention: the same result wherever cells lie. */
export const testOptions: EngineOptions = {
  contextLength: 1024,
  kvCells: 2048,
  batchTokens: 128,
  maxSequences: 8,
  blockSize: 16,
  threads: 1,
  flashAttention: false,
  keyType: 'f16',
  valueType: 'f16',
  offloadKv: false,
  modelDigest: new Uint8Array(32).fill(7),
  kvSliceUs: 0,
};

export const neutral: Omit<SubmitRequest, 'handle' | 'tokenIds'> = {
  resumedOutputTokens: 0,
  maxTokens: 16,
  minTokens: 0,
  ignoreEos: false,
  bypassPrefixCache: false,
  priority: 0,
  stopTokenIds: new Uint32Array(),
  promptLogprobs: null,
  adapter: '',
  cacheSalt: '',
  temperature: 0,
  topP: 1,
  topK: 0,
  minP: 0,
  frequencyPenalty: 0,
  presencePenalty: 0,
  repetitionPenalty: 1,
  seed: 1n,
  grammar: '',
  topLogprobs: null,
  logitBiasTokens: new Uint32Array(),
  logitBiasValues: new Float32Array(),
};

export interface Generated {
  readonly tokens: number[];
  readonly logprobs: NativePositionLogprobs[];
  prefilled: NativePrefilled | undefined;
  finished: NativeFinished | undefined;
  /** Number of the step in which it was cancelled, and of the one that ended it. */
  steps: number;
}

/** An engine whose sequences are promises, and which keeps what it reported. */
export class TestEngine {
  readonly steps: NativeStep[] = [];
  readonly changes: NativeKvChange[] = [];
  onStep: ((step: NativeStep) => void) | undefined;
  #next = 1;
  #engine: EngineHandle | undefined;
  readonly #live = new Map<number, { result: Generated; done(result: Generated): void }>();

  static async create(model: ModelHandle, options: Partial<EngineOptions> = {}): Promise<TestEngine> {
    const test = new TestEngine();
    test.#engine = await engineCreate(model, { ...testOptions, ...options }, (steps) => test.#receive(steps));
    return test;
  }

  get handle(): EngineHandle {
    if (this.#engine === undefined) throw new Error('the engine was not created');
    return this.#engine;
  }

  generate(tokenIds: Uint32Array, options: Partial<SubmitRequest> = {}): Promise<Generated> {
    return this.start(tokenIds, options).result;
  }

  start(tokenIds: Uint32Array, options: Partial<SubmitRequest> = {}): { handle: number; result: Promise<Generated> } {
    const handle = this.#next++;
    const result = new Promise<Generated>((done) => {
      const empty = { tokens: [], logprobs: [], prefilled: undefined, finished: undefined, steps: 0 };
      this.#live.set(handle, { result: empty, done });
    });
    try {
      engineSubmit(this.handle, { ...neutral, ...options, handle, tokenIds });
    } catch (error) {
      this.#live.delete(handle);
      throw error;
    }
    return { handle, result };
  }

  cancel(handle: number): void {
    engineCancel(this.handle, handle);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await engineStop(this.handle);
  }

  #receive(steps: readonly NativeStep[]): void {
    for (const step of steps) {
      this.steps.push(step);
      this.changes.push(...step.kv);
      step.handles.forEach((handle, entry) => {
        const live = this.#live.get(handle);
        live?.result.tokens.push(step.tokenIds[entry] ?? -1);
        const logprobs = step.logprobs.find((candidate) => candidate.entry === entry);
        if (logprobs !== undefined) live?.result.logprobs.push(logprobs.position);
      });
      for (const prefilled of step.prefilled) {
        const live = this.#live.get(prefilled.handle);
        if (live !== undefined) live.result.prefilled = prefilled;
      }
      for (const finished of step.finished) this.#finish(finished);
      this.onStep?.(step);
    }
  }

  #finish(finished: NativeFinished): void {
    const live = this.#live.get(finished.handle);
    if (live === undefined) throw new Error(`sequence ${finished.handle} finished twice`);
    this.#live.delete(finished.handle);
    live.result.finished = finished;
    live.done(live.result);
  }
}

/** Hashes of blocks in the cache after all changes; throws where a change contradicts the ones before it. */
export function replay(changes: readonly NativeKvChange[]): Map<bigint, bigint> {
  const blocks = new Map<bigint, bigint>();
  for (const change of changes) {
    if (change.stored && change.parent !== null && !blocks.has(change.parent))
      throw new Error('a block without its parent');
    change.sequenceHashes.forEach((hash, index) => {
      if (change.stored === blocks.has(hash))
        throw new Error(change.stored ? 'stored twice' : 'removed but not stored');
      if (change.stored) blocks.set(hash, change.localHashes[index] ?? 0n);
      else blocks.delete(hash);
    });
  }
  return blocks;
}

export function chat(model: ModelHandle, question: string): Promise<Uint32Array> {
  const text = `<|im_start|>user\n${question}<|im_end|>\n<|im_start|>assistant\n`;
  return vocabTokenize(model, text, { addSpecial: true, parseSpecial: true });
}

export function textOf(model: ModelHandle, tokens: readonly number[]): string {
  const table = vocabTokenBytes(model);
  const parts = tokens.map((token) => table.data.subarray(table.offsets[token], table.offsets[token + 1]));
  return Buffer.concat(parts).toString('utf8');
}

export const finishReasons = { stop: 0, length: 1, cancelled: 2, error: 3 } as const;
