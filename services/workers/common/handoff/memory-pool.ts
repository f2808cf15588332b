/** Idle memory goes back to the system after so long without use. */
const idleMs = 30_000;

/** Memory for KV that is used again, because the system makes and clears new memory page by page. */
export class MemoryPool {
  /** Longest unused first. */
  #idle: Buffer[] = [];
  #idleBytes = 0;
  readonly #maxIdleBytes: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(maxIdleBytes: number) {
    this.#maxIdleBytes = maxIdleBytes;
  }

  /** Bytes that nobody uses. */
  get idleBytes(): number {
    return this.#idleBytes;
  }

  /** Exactly so many bytes, which hold anything. */
  take(bytes: number): Buffer {
    const fits = (whole: Buffer): boolean => whole.length >= bytes && whole.length <= 2 * bytes;
    const found = this.#idle.findLast(fits);
    if (found === undefined) return Buffer.allocUnsafeSlow(bytes);
    this.#drop(found);
    return found.subarray(0, bytes);
  }

  /** Gives back what was taken, once nobody reads or writes it any more. */
  give(memory: Buffer): void {
    const whole = Buffer.from(memory.buffer);
    this.#idle.push(whole);
    this.#idleBytes += whole.length;
    for (const oldest of [...this.#idle]) if (this.#idleBytes > this.#maxIdleBytes) this.#drop(oldest);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.close(), idleMs);
    this.#timer.unref();
  }

  /** Lets go of what is idle. */
  close(): void {
    clearTimeout(this.#timer);
    this.#idle = [];
    this.#idleBytes = 0;
  }

  #drop(memory: Buffer): void {
    this.#idle = this.#idle.filter((each) => each !== memory);
    this.#idleBytes -= memory.length;
  }
}
