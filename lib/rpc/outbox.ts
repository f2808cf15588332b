/** Messages for a stream that is read at its own pace. Bounded: beyond `limit` the reader counts as gone. */
export class Outbox<T> implements AsyncIterable<T> {
  readonly #limit: number;
  #waiting: T[] = [];
  #wake: (() => void) | null = null;
  #closed = false;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** False if the message was not taken. */
  push(message: T): boolean {
    if (this.#closed || this.#waiting.length >= this.#limit) return false;
    this.#waiting.push(message);
    this.#wake?.();
    return true;
  }

  close(): void {
    this.#closed = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    while (!this.#closed || this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      yield* batch;
      if (this.#waiting.length > 0 || this.#closed) continue;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = null;
    }
  }
}
