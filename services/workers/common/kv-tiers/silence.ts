import { StatorError } from '#lib/errors/errors.ts';

/** Ends a stream that says nothing for too long. */
export class Silence {
  readonly #ending: AbortController;
  #timer: NodeJS.Timeout | undefined;

  constructor(ending: AbortController) {
    this.#ending = ending;
  }

  /** From now on silences may last so long. */
  expect(mostMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#ending.abort(new StatorError('worker_unavailable', `the block manager was silent for ${mostMs} ms`));
    }, mostMs);
    this.#timer.unref();
  }

  heard(): void {
    this.#timer?.refresh();
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}
