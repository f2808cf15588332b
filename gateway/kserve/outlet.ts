/**
 * Where several writers put what one reader takes. A writer waits until the reader has taken what it put, so that nothing
 * piles up between them.
 */
export class Outlet<T> implements AsyncIterable<T> {
  readonly #waiting: { readonly item: T; readonly taken: () => void }[] = [];
  #end: { readonly error: unknown } | null = null;
  #wake: () => void = () => {};

  /** Resolves when the item was taken, or at once after the end: then nobody wants it. */
  put(item: T): Promise<void> {
    if (this.#end !== null) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push({ item, taken: resolve });
      this.#wake();
    });
  }

  /** No more will be put; the reader is told of the error, if there is one. */
  end(error: unknown = null): void {
    this.#end ??= { error };
    this.#wake();
  }

  /** The reader is gone: ends with the error and lets writers go on. */
  close(error: unknown): void {
    this.end(error);
    for (const { taken } of this.#waiting.splice(0)) taken();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    try {
      for (;;) {
        const next = this.#waiting.shift();
        if (next !== undefined) {
          next.taken();
          yield next.item;
        } else if (this.#end === null) {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        } else break;
      }
      if (this.#end?.error) throw this.#end.error;
    } finally {
      this.close(null);
    }
  }
}
