interface Waiter {
  readonly blocks: number;
  readonly go: () => void;
}

/**
 * Work that everything which follows workers may do in one turn of the event loop, all together: requests are served between
 * turns, however many workers send at once.
 */
export class TurnBudget {
  readonly #blocks: number;
  readonly #waiting: Waiter[] = [];
  #left: number;
  #turn: NodeJS.Immediate | undefined;

  constructor(blocks: number) {
    this.#blocks = blocks;
    this.#left = blocks;
  }

  /** Undefined: go on now. A promise: go on when it resolves. One piece of work may exceed what a turn has. */
  take(blocks: number): Promise<void> | undefined {
    this.#turn ??= setImmediate(() => this.#nextTurn());
    if (this.#left > 0 && this.#waiting.length === 0) {
      this.#left -= blocks;
      return undefined;
    }
    return new Promise((go) => this.#waiting.push({ blocks, go }));
  }

  #nextTurn(): void {
    this.#turn = undefined;
    this.#left = this.#blocks;
    let started = 0;
    for (; started < this.#waiting.length && this.#left > 0; started++) {
      const waiter = this.#waiting[started];
      this.#left -= waiter?.blocks ?? 0;
      waiter?.go();
    }
    this.#waiting.splice(0, started);
    if (started > 0) this.#turn = setImmediate(() => this.#nextTurn());
  }
}
