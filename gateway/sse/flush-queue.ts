/** Something with output to write. */
export interface Flushable {
  flush(): void;
}

/**
 * Collects what got output during one wake-up of the event loop and writes it once after all sockets were read, so that
 * several tokens of one stream become one write.
 */
export class FlushQueue {
  #dirty: Flushable[] = [];
  #scheduled = false;
  readonly #run = (): void => {
    this.#scheduled = false;
    const batch = this.#dirty;
    this.#dirty = [];
    for (const item of batch) item.flush();
  };

  /** `item` must not be in the queue already; its own `flush` marks that it may come again. */
  push(item: Flushable): void {
    this.#dirty.push(item);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#run);
  }
}
