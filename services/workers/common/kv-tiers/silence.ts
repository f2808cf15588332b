import { StatorError } from '#lib/errors/errors.ts';

/** Ends a stream that says nothing for too long. */
export class Silence {
  readonly #ending: AbortController;
  #timer: NodeJS.Timeout | undefined;
  #heard = false;

  constructor(ending: AbortController) {
    this.#ending = ending;
  }

  /** From now on silences may last so long. */
  expect(mostMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#suspect(mostMs), mostMs);
    this.#timer.unref();
  }

  heard(): void {
    this.#heard = true;
    this.#timer?.refresh();
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Where this process itself stood still, timers come before what was received meanwhile: that gets its turn first. */
  #suspect(mostMs: number): void {
    this.#heard = false;
    setImmediate(() =>
      setImmediate(() => {
        if (this.#heard || this.#timer === undefined) return;
        this.#ending.abort(new StatorError('worker_unavailable', `the block manager was silent for ${mostMs} ms`));
      }),
    );
  }
}
