/** What decides, beside tokens, adapter and salt, whether KV bytes of one engine mean anything to another. */
export interface KvFormat {
  /** Name of the model, for people. */
  readonly model: string;
  /** SHA-256 of the model's contents. */
  readonly modelDigest: Uint8Array;
  /** Engine, release and every option that changes bytes, for example KV types and flash attention. */
  readonly engine: string;
  /** Element type, for example "f16". */
  readonly dtype: string;
  readonly blockTokens: number;
  /** Most bytes of a block. */
  readonly blockBytes: number;
  /** Parallel rank that the bytes belong to, and how many there are. */
  readonly rank: number;
  readonly ranks: number;
}

/** The full blocks of a prompt, from its start. */
export interface KvPrefix {
  /** As many tokens as the blocks have. */
  readonly tokenIds: Uint32Array;
  /** Of each block, as routers know it: adapter and salt are in it. */
  readonly sequenceHashes: BigUint64Array;
  /** Adapter name. Empty: none. */
  readonly adapter: string;
  readonly cacheSalt: string;
}

/** Memory of an accelerator that the engine's process has mapped, for engines whose blocks need not pass the host. */
interface KvDeviceMemory {
  readonly kind: 'cuda';
  /** Number of the device in this process. */
  readonly device: number;
  /** Where the span's offset counts from, and how many bytes there are from there on. */
  readonly address: bigint;
  readonly bytes: number;
}

/** Where the bytes of one block are or go: host memory that this process has mapped, or memory of a device. */
export interface KvSpan {
  /** Empty where `device` is set. */
  readonly memory: Uint8Array;
  /** Engines without that device reject with `unsupported`. */
  readonly device?: KvDeviceMemory;
  readonly offset: number;
  /** At import: of the block. At export: room. */
  readonly bytes: number;
}

/**
 * Keeps blocks in the engine's cache until it is released; idempotent. Where sequences cannot run beside held blocks, the
 * engine lets go of them by itself: holds never stop it.
 */
export interface KvHold {
  /** Blocks from the start of the prompt that are kept. */
  readonly blocks: number;
  release(): void;
}

/** An engine that keeps prompts on demand. */
export interface PromptKeeper {
  /** Keeps the leading blocks of the prefix that are cached now. Throws StatorError where there is no room for holds. */
  hold(prefix: KvPrefix): Promise<KvHold>;
}

/** Blocks whose bytes are in the engine, and that no sequence uses yet. */
export interface KvImport {
  /**
   * Makes the first `sound` of the imported blocks cached ones, which later sequences share, and forgets the rest. Called
   * once the bytes are known to have been the right ones while they were copied.
   */
  accept(sound: number): Promise<KvHold>;
  /** Forgets all of them. Idempotent, and nothing after `accept`. */
  discard(): void;
}

/**
 * KV blocks of an engine that can leave and enter it: what offloading, onboarding and disaggregation are made of. Both
 * ways are asynchronous and cut into pieces such that running sequences wait for no more than one step.
 */
export interface EngineKv {
  /** Valid after `start`. */
  readonly format: KvFormat;
  /** SHA-256 of a loaded adapter's contents; null for one that is not loaded. */
  adapterDigest(name: string): Uint8Array | null;
  /** Leading blocks of the prefix that the engine has cached, as far as its reported steps tell. */
  cachedBlocks(prefix: KvPrefix): number;
  /**
   * Copies cached blocks out, from block `from` on, one into each span. Returns the bytes of each block that was written:
   * fewer entries than spans where the engine does not have the next one (any more). They may leave the cache meanwhile.
   * The spans are not written after it has resolved or rejected.
   */
  exportBlocks(prefix: KvPrefix, from: number, into: readonly KvSpan[], signal: AbortSignal): Promise<number[]>;
  /**
   * Copies blocks in, from block `from` on; those before must be cached. Rejects with `overloaded` where running
   * sequences need the room, `conflict` where the block before the first is not cached any more, and `invalid_argument`
   * for bytes that are no block of this format. The spans are not read after it has resolved or rejected.
   */
  importBlocks(prefix: KvPrefix, from: number, spans: readonly KvSpan[], signal: AbortSignal): Promise<KvImport>;
}
