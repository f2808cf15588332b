import type { Logger } from 'pino';
import { BlockUses } from '../block-uses.ts';
import type { KvHold, KvPrefix, PromptKeeper } from '../engine-kv.ts';

export interface OffloadHoldsOptions {
  /** Undefined for engines that keep nothing on demand. */
  readonly prompts: () => PromptKeeper | undefined;
  /** Blocks of the cache that may be held at most. */
  readonly maxBlocks: () => number;
  /** So many blocks wait without being held: others have the room. */
  readonly onUnheld: (blocks: number) => void;
  readonly log: Logger;
}

/** Keeps blocks in an engine's cache that wait to be written back, within a bound; what lies beyond it may go before its turn. */
export class OffloadHolds {
  readonly #o: OffloadHoldsOptions;
  readonly #uses = new BlockUses();
  readonly #releases = new Set<() => void>();
  /** Holds that the engine has not answered yet. */
  readonly #beginning = new Set<Promise<void>>();

  constructor(options: OffloadHoldsOptions) {
    this.#o = options;
  }

  /** Different blocks. */
  get blocks(): number {
    return this.#uses.blocks;
  }

  /**
   * Begins to hold a prompt's blocks, of which so many wait; all of them, because none outlives the one before it. Gives the
   * end of it, which may be called at any time, more than once.
   */
  keep(prefix: KvPrefix, waiting: number): () => void {
    const { prompts, maxBlocks, onUnheld, log } = this.#o;
    const hashes = prefix.sequenceHashes;
    const keeper = prompts();
    if (keeper === undefined || this.#uses.blocks + this.#uses.missing(hashes) > maxBlocks()) {
      onUnheld(waiting);
      return () => {};
    }
    let hold: KvHold | undefined;
    this.#uses.count(hashes, 1);
    const release = (): void => {
      if (!this.#releases.delete(release)) return;
      this.#uses.count(hashes, -1);
      hold?.release();
    };
    this.#releases.add(release);
    const beginning = keeper.hold(prefix).then(
      (held) => {
        hold = held;
        if (!this.#releases.has(release)) held.release();
      },
      (thrown: unknown) => {
        if (this.#releases.has(release)) onUnheld(waiting);
        release();
        log.debug({ err: thrown }, 'blocks wait to be written back without being held');
      },
    );
    this.#beginning.add(beginning);
    void beginning.then(() => this.#beginning.delete(beginning));
    return release;
  }

  /** Lets go of everything; resolves when the engine was told to, also of what it was about to hold. */
  async close(): Promise<void> {
    for (const release of [...this.#releases]) release();
    await Promise.all(this.#beginning);
  }
}
