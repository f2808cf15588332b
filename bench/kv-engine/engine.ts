import { create } from '@bufbuild/protobuf';
import { pino } from 'pino';
import { GenerateRequestSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { hashBlocks } from '#native/tokens/index.ts';
import type { StepBatch } from '#services/workers/common/engine.ts';
import type { EngineKv, KvPrefix, KvSpan } from '#services/workers/common/engine-kv.ts';
import { LlamacppEngine } from '#services/workers/llamacpp/engine.ts';
import { defaultOptions, type LlamacppOptions } from '#services/workers/llamacpp/options.ts';

/** An engine with requests as promises. */
export class EngineUnderTest {
  readonly #engine: LlamacppEngine;
  readonly blockSize: number;
  onStep: ((step: StepBatch) => void) | undefined;
  readonly #finished = new Map<number, () => void>();
  #next = 1;

  private constructor(options: LlamacppOptions) {
    this.blockSize = options.blockSize;
    this.#engine = new LlamacppEngine(options, pino({ level: 'silent' }));
  }

  static async start(changes: Partial<LlamacppOptions> & Pick<LlamacppOptions, 'modelPath' | 'cacheDir'>) {
    const engine = new EngineUnderTest({ ...defaultOptions, threads: 1, ...changes });
    const onStep = (step: StepBatch): void => {
      for (const { handle } of step.finished) engine.#finished.get(handle)?.();
      engine.onStep?.(step);
    };
    const onFatal = (error: Error): never => {
      throw error;
    };
    await engine.#engine.start({ onStep, onFatal }, { signal: new AbortController().signal });
    return engine;
  }

  get kv(): EngineKv {
    if (this.#engine.kv === undefined) throw new Error('this model has no blocks');
    return this.#engine.kv;
  }

  clearCache(): Promise<number> {
    return this.#engine.clearCache();
  }

  generate(tokenIds: Uint32Array, maxTokens: number): Promise<void> {
    const handle = this.#next++;
    const done = new Promise<void>((resolve) => this.#finished.set(handle, resolve));
    const stop = { maxTokens, ignoreEos: true };
    this.#engine.submit(handle, create(GenerateRequestSchema, { tokenIds: [...tokenIds], stop }));
    return done;
  }

  prefix(tokenIds: Uint32Array): KvPrefix {
    const { sequenceHashes } = hashBlocks(tokenIds, this.blockSize, { adapter: '', cacheSalt: '' });
    return { tokenIds, sequenceHashes, adapter: '', cacheSalt: '' };
  }

  /** Shared memory, touched already. */
  room(blocks: number): KvSpan[] {
    const bytes = this.kv.format.blockBytes;
    const memory = new Uint8Array(new SharedArrayBuffer(blocks * bytes)).fill(1);
    return Array.from({ length: blocks }, (_, index) => ({ memory, offset: index * bytes, bytes }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#engine.stop();
  }
}

export function promptOf(seed: number, length: number): Uint32Array {
  return Uint32Array.from({ length }, (_, index) => 1000 + ((seed * 101 + index * 37) % 15_000));
}
