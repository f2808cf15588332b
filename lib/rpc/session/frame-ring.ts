/** A frame that the gateway has not acknowledged. */
export interface KeptFrame {
  readonly number: number;
  /** As FrameWriter.take made them. */
  readonly bytes: Uint8Array;
  /** Slots whose terminal entry the frame holds. */
  readonly ended: readonly number[];
}

/** Unacknowledged frames in order of their numbers, which have no gaps. */
export class FrameRing {
  /** Undefined before `#head`, until the array is cut. */
  #frames: (KeptFrame | undefined)[] = [];
  #head = 0;
  #bytes = 0;
  /** Number of the newest frame; 0: none yet. */
  newest = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** Number of the newest acknowledged frame. */
  get acknowledged(): number {
    return this.newest - (this.#frames.length - this.#head);
  }

  push(frame: KeptFrame): void {
    this.#frames.push(frame);
    this.#bytes += frame.bytes.length;
    this.newest = frame.number;
  }

  get(number: number): KeptFrame | undefined {
    return number > this.acknowledged ? this.#frames[this.#head + number - this.acknowledged - 1] : undefined;
  }

  /** Forgets frames up to `number`. */
  acknowledge(number: number): void {
    for (let next = this.acknowledged + 1; next <= number && next <= this.newest; next++) {
      this.#bytes -= this.#frames[this.#head]?.bytes.length ?? 0;
      this.#frames[this.#head++] = undefined;
    }
    if (this.#head > 64 && this.#head * 2 > this.#frames.length) {
      this.#frames = this.#frames.slice(this.#head);
      this.#head = 0;
    }
  }

  /** Forgets everything. */
  clear(): void {
    this.acknowledge(this.newest);
    this.#frames = [];
    this.#head = 0;
  }

  /** Frames after `number`. */
  after(number: number): readonly KeptFrame[] {
    const from = this.#head + Math.max(0, number - this.acknowledged);
    return this.#frames.slice(from).filter((frame) => frame !== undefined);
  }
}
