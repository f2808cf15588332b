import { type BlockIdentity, BlockPool } from './block-pool.ts';
import type { KvChanges } from './engine-model.ts';
import { KvChangeLog } from './kv-change-log.ts';
import { LowerTiers } from './lower-tiers.ts';
import type { EngineSequence } from './sequence.ts';
import type { EngineSettings, OutputHasher } from './settings.ts';

const device = 0;

/** The paged cache of an engine with what lies below it: which sequence holds which blocks, what is found again, what changed. */
export class KvCache {
  readonly pool: BlockPool;
  readonly tiers: LowerTiers;
  readonly log: KvChangeLog | undefined;
  readonly #settings: EngineSettings;
  readonly #hasher: OutputHasher;
  /** Blocks that the last `#peek` found. */
  #found = new Int32Array(256);
  #foundIdle = 0;
  /** Blocks of which no copy is left, counted. */
  #gone = 0;
  #clearing = false;
  readonly #hash = new Uint32Array(4);
  /** Reused for every block. */
  readonly #identity = {
    low: 0,
    high: 0,
    parentLow: 0,
    parentHigh: 0,
    localLow: 0,
    localHigh: 0,
    index: 0,
  } satisfies BlockIdentity;

  constructor(settings: EngineSettings, hasher: OutputHasher) {
    this.#settings = settings;
    this.#hasher = hasher;
    this.log = settings.kvEvents ? new KvChangeLog() : undefined;
    this.tiers = new LowerTiers(settings.offload, this.log);
    this.pool = new BlockPool(settings.totalBlocks, (block) => this.#onGone(block));
  }

  /** Blocks that so many tokens fill or begin. */
  blocksOf(tokens: number): number {
    return Math.ceil(tokens / this.#settings.blockSize);
  }

  /**
   * Leading blocks of a waiting sequence that are on the device; at least one token is left to compute. Looked up again only
   * when something was released or a prompt computed since.
   */
  cachedBlocks(sequence: EngineSequence): number {
    if (sequence.peekedAt !== this.pool.generation) {
      sequence.peekedBlocks = this.#peek(sequence);
      sequence.peekedAt = this.pool.generation;
    }
    return sequence.peekedBlocks;
  }

  /**
   * Takes the blocks of the sequence's first `tokens` tokens, shared where they are cached, and sets what is computed thereby.
   * False, and nothing has changed, when they and `spare` further blocks are not available.
   */
  admit(sequence: EngineSequence, tokens: number, spare: number): boolean {
    const found = this.#peek(sequence);
    const needed = this.blocksOf(tokens) - found;
    if (Math.max(0, needed) + spare > this.pool.available - this.#foundIdle) return false;
    for (let i = 0; i < found; i++) {
      const block = this.#found[i] ?? 0;
      this.pool.hold(block);
      sequence.addBlock(block);
    }
    sequence.hashedBlocks = found;
    sequence.computed = found * this.#settings.blockSize;
    this.#onboard(sequence, needed);
    this.grow(sequence, tokens);
    return true;
  }

  /** Whether the blocks of the first `tokens` tokens can be had. */
  canGrow(sequence: EngineSequence, tokens: number): boolean {
    return this.blocksOf(tokens) - sequence.blockCount <= this.pool.available;
  }

  grow(sequence: EngineSequence, tokens: number): void {
    const target = this.blocksOf(tokens);
    while (sequence.blockCount < target) sequence.addBlock(this.pool.allocate());
  }

  /** Lets others find the blocks that are full and computed. */
  commit(sequence: EngineSequence): void {
    const { blockSize, prefixCaching } = this.#settings;
    if (!prefixCaching) return;
    while ((sequence.hashedBlocks + 1) * blockSize <= sequence.computed) {
      const index = sequence.hashedBlocks;
      if (!this.#identify(sequence, index)) return;
      this.#commitBlock(sequence.blocks[index] ?? 0);
      if (index < sequence.hashedPromptBlocks) this.pool.generation++;
      sequence.hashedBlocks++;
    }
  }

  /** The sequence is over or has to begin again. */
  release(sequence: EngineSequence): void {
    for (let i = sequence.blockCount - 1; i >= 0; i--) this.pool.release(sequence.blocks[i] ?? 0);
    sequence.blockCount = 0;
    sequence.hashedBlocks = 0;
    sequence.computed = 0;
    this.pool.generation++;
  }

  /** Forgets what no sequence uses; returns how many different blocks. */
  clear(): number {
    const before = this.#gone;
    this.#clearing = true;
    while (this.pool.evict());
    this.#clearing = false;
    this.pool.generation++;
    return this.#gone - before + this.tiers.clear();
  }

  takeChanges(): KvChanges {
    return this.log?.take() ?? new KvChangeLog().take();
  }

  #onGone(block: number): void {
    this.#gone++;
    const { low, high } = this.pool.identityOf(block);
    this.log?.removed(device, low, high);
    if (!this.#clearing) this.tiers.offload(this.pool, block);
  }

  #peek(sequence: EngineSequence): number {
    this.#foundIdle = 0;
    if (!this.#settings.prefixCaching || sequence.bypassPrefixCache) return 0;
    const reusable = Math.floor((sequence.length - 1) / this.#settings.blockSize);
    const limit = Math.min(reusable, sequence.knownHashes);
    if (this.#found.length < limit) this.#found = new Int32Array(2 * limit);
    const { hashes, hashedPromptBlocks, outputHashes } = sequence;
    let count = 0;
    for (; count < limit; count++) {
      const inPrompt = count < hashedPromptBlocks;
      const words = inPrompt ? hashes : outputHashes;
      const at = inPrompt ? 2 * count : 4 * (count - hashedPromptBlocks);
      const block = this.pool.find(words[at] ?? 0, words[at + 1] ?? 0);
      if (block < 0) break;
      if (this.pool.isIdle(block)) this.#foundIdle++;
      this.#found[count] = block;
    }
    return count;
  }

  /** Brings the blocks that follow back from host memory and disk. */
  #onboard(sequence: EngineSequence, needed: number): void {
    if (!this.tiers.exist || sequence.bypassPrefixCache) return;
    const { blockSize } = this.#settings;
    const limit = Math.min(Math.floor((sequence.length - 1) / blockSize), sequence.knownHashes);
    const most = Math.min(needed, limit - sequence.hashedBlocks);
    const first = sequence.hashedBlocks;
    const found = this.tiers.pin(most, (i) => this.#identify(sequence, first + i) && this.#identity);
    for (let i = 0; i < found; i++) {
      const block = this.pool.allocate();
      sequence.addBlock(block);
      this.#identify(sequence, first + i);
      this.#commitBlock(block);
      sequence.hashedBlocks++;
    }
    sequence.computed = sequence.hashedBlocks * blockSize;
    sequence.onboardMs = this.tiers.unpin(blockSize);
  }

  #commitBlock(block: number): void {
    if (this.pool.commit(block, this.#identity)) this.log?.stored(device, this.#identity);
  }

  /** Writes the identity of a block; false when its hash cannot be known. */
  #identify(sequence: EngineSequence, index: number): boolean {
    const identity = this.#identity;
    identity.index = index;
    identity.parentLow = index === 0 ? 0 : this.#word(sequence, index - 1, 0);
    identity.parentHigh = index === 0 ? 0 : this.#word(sequence, index - 1, 1);
    if (index < sequence.hashedPromptBlocks) {
      identity.localLow = sequence.locals[2 * index] ?? 0;
      identity.localHigh = sequence.locals[2 * index + 1] ?? 0;
    } else {
      if (!sequence.hashesOutput) return false;
      if (index >= sequence.knownHashes) {
        this.#hasher.hash(sequence.id, index, identity.parentLow, identity.parentHigh, this.#hash);
        sequence.addOutputHash(this.#hash);
      }
      const at = 4 * (index - sequence.hashedPromptBlocks);
      identity.localLow = sequence.outputHashes[at + 2] ?? 0;
      identity.localHigh = sequence.outputHashes[at + 3] ?? 0;
    }
    identity.low = this.#word(sequence, index, 0);
    identity.high = this.#word(sequence, index, 1);
    return true;
  }

  #word(sequence: EngineSequence, index: number, word: 0 | 1): number {
    const { hashedPromptBlocks } = sequence;
    if (index < hashedPromptBlocks) return sequence.hashes[2 * index + word] ?? 0;
    return sequence.outputHashes[4 * (index - hashedPromptBlocks) + word] ?? 0;
  }
}
