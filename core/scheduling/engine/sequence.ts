import type { RequestRole, SimulatedRequest } from './engine-model.ts';

/** Where a sequence is: it waits, or its KV is on its way, or it is computed, or its blocks wait for the decoder, or it is over. */
export type SequenceState = 'waiting' | 'transferring' | 'running' | 'handoff' | 'over';

/** What an engine knows of a sequence. */
export class EngineSequence {
  readonly id: number;
  readonly promptTokens: number;
  /** Hashes of the prompt's blocks: two words each, low first. */
  readonly hashes: Uint32Array;
  readonly locals: Uint32Array;
  /** Hashes of the blocks after those, as far as they were ever computed: sequence hash and local hash, two words each. */
  outputHashes = new Uint32Array(4);
  outputHashCount = 0;
  /** Blocks of the prompt that can be found by hash. */
  readonly hashedPromptBlocks: number;
  /** Whether the blocks after the prompt can be hashed too. */
  readonly hashesOutput: boolean;
  readonly maxTokens: number;
  readonly priority: number;
  readonly arrivalMs: number;
  readonly role: RequestRole;
  readonly bypassPrefixCache: boolean;
  state: SequenceState = 'waiting';
  /** The blocks it holds, in order; the first `blockCount` entries. */
  blocks: Int32Array;
  blockCount = 0;
  /** Blocks of those that are hashed. */
  hashedBlocks = 0;
  /** Tokens whose KV is computed or was found. */
  computed = 0;
  /** Tokens that existed when it was admitted: computing up to here is prefill. */
  prefillUntil: number;
  outputTokens = 0;
  /** Prompt tokens found in a cache when it was first admitted. */
  cachedTokens = 0;
  /** When its first computation began; negative: not yet. */
  scheduledMs = -1;
  /** Its first token is out; a preempted sequence has no second one. */
  announced = false;
  /** Times that it had to give up its blocks. */
  preemptions = 0;
  /** Tokens of the pass that is being put together. */
  scheduled = 0;
  /** Tokens of those that are prefill. */
  scheduledPrefill = 0;
  /** Its KV has to come from a prefill worker. */
  needsTransfer: boolean;
  /** Milliseconds that blocks took from lower tiers. */
  onboardMs = 0;
  /** When its KV is there. */
  readyMs = 0;
  /** Pool generation in which it did not fit; nothing has come back since. */
  blockedAt = -1;
  /** What was found of it in the cache, and in which pool generation. */
  peekedBlocks = 0;
  peekedAt = -1;

  constructor(request: SimulatedRequest, maxTokens: number, blockSize: number) {
    this.id = request.id;
    this.promptTokens = request.promptTokens;
    const blocks = Math.floor(request.promptTokens / blockSize);
    this.hashes = words(request.sequenceHashes);
    this.locals = words(request.localHashes ?? new Uint8Array());
    this.hashedPromptBlocks = Math.min(blocks, this.hashes.length / 2);
    this.hashesOutput = this.hashedPromptBlocks === blocks;
    this.maxTokens = maxTokens;
    this.priority = request.priority ?? 0;
    this.arrivalMs = request.arrivalMs;
    this.role = request.role ?? 'aggregated';
    this.bypassPrefixCache = request.bypassPrefixCache ?? false;
    this.blocks = new Int32Array(blocks + 2);
    this.needsTransfer = this.role === 'decode';
    this.prefillUntil = this.role === 'decode' ? 0 : request.promptTokens;
  }

  /** Tokens there are: the prompt and what was generated. */
  get length(): number {
    return this.promptTokens + this.outputTokens;
  }

  get remainingTokens(): number {
    return this.maxTokens - this.outputTokens;
  }

  /** Prompt tokens, and after a preemption output tokens, that are not computed. */
  get pendingPrefill(): number {
    return Math.max(0, this.prefillUntil - this.computed);
  }

  /** Blocks whose hashes are known, from the first on. */
  get knownHashes(): number {
    return this.hashedPromptBlocks + this.outputHashCount;
  }

  addOutputHash(words: Uint32Array): void {
    const at = 4 * this.outputHashCount++;
    if (at === this.outputHashes.length) {
      const larger = new Uint32Array(2 * at);
      larger.set(this.outputHashes);
      this.outputHashes = larger;
    }
    this.outputHashes.set(words, at);
  }

  addBlock(block: number): void {
    if (this.blockCount === this.blocks.length) {
      const larger = new Int32Array(2 * this.blocks.length);
      larger.set(this.blocks);
      this.blocks = larger;
    }
    this.blocks[this.blockCount++] = block;
  }
}

function words(packed: Uint8Array): Uint32Array {
  const aligned = packed.byteOffset % 4 === 0 ? packed : packed.slice();
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >> 2);
}
