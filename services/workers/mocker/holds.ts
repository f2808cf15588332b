import type { HeldBlocks, KvExchange } from '#core/scheduling/engine/kv-exchange.ts';
import type { KvHold } from '../common/engine-kv.ts';

/** What is kept in the cache of one rank beside its sequences. */
export class RankHolds {
  readonly #exchange: () => KvExchange;
  /** There is room again. */
  readonly #onReleased: () => void;
  readonly #holds = new Set<Hold>();

  constructor(exchange: () => KvExchange, onReleased: () => void) {
    this.#exchange = exchange;
    this.#onReleased = onReleased;
  }

  add(held: HeldBlocks): KvHold {
    const hold = new Hold(held.blocks.length, (revoked) => {
      this.#holds.delete(hold);
      this.#exchange().release(held);
      if (!revoked) this.#onReleased();
    });
    this.#holds.add(hold);
    return hold;
  }

  /** Nothing can run beside what is held. False: nothing was. */
  letGo(): boolean {
    const any = this.#holds.size > 0;
    for (const hold of [...this.#holds]) hold.revoke();
    return any;
  }
}

class Hold implements KvHold {
  readonly blocks: number;
  #end: ((revoked: boolean) => void) | undefined;

  constructor(blocks: number, end: (revoked: boolean) => void) {
    this.blocks = blocks;
    this.#end = end;
  }

  release(): void {
    this.#over(false);
  }

  revoke(): void {
    this.#over(true);
  }

  #over(revoked: boolean): void {
    const end = this.#end;
    this.#end = undefined;
    end?.(revoked);
  }
}
