import { StatorError } from '#lib/errors/errors.ts';
import { revoked } from '../regions.ts';

/** Views of one frame: as many as one system call takes with room to spare. */
const MAX_PARTS = 256;

/** A piece of memory; `buffer` gives it as long as it is lent. */
export interface Target {
  readonly buffer: () => Uint8Array | undefined;
  readonly offset: number;
  readonly bytes: number;
}

/** Walks through a list of pieces as through one run of bytes. */
export class Scatter {
  readonly #targets: readonly Target[];
  #index = 0;
  #done = 0;

  constructor(targets: readonly Target[]) {
    this.#targets = targets;
  }

  get complete(): boolean {
    return this.#index === this.#targets.length;
  }

  /** The next bytes as views; none at the end. Throws `not_found` for revoked memory. */
  nextParts(maxBytes: number): Uint8Array[] {
    const parts: Uint8Array[] = [];
    let bytes = 0;
    while (bytes < maxBytes && parts.length < MAX_PARTS && !this.complete) {
      const part = this.#advance(maxBytes - bytes);
      parts.push(part);
      bytes += part.byteLength;
    }
    return parts;
  }

  /** The next bytes as a view or, across pieces, a copy; undefined at the end. Throws like `nextParts`. */
  next(maxBytes: number): Uint8Array | undefined {
    const parts = this.nextParts(maxBytes);
    return parts.length <= 1 ? parts[0] : Buffer.concat(parts);
  }

  /** Puts bytes where they belong. Throws `backend_protocol` for more than was asked for. */
  store(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.byteLength; ) {
      if (this.complete) throw new StatorError('backend_protocol', 'The peer sent more than was asked for.');
      const part = this.#advance(bytes.byteLength - at);
      part.set(bytes.subarray(at, at + part.byteLength));
      at += part.byteLength;
    }
  }

  #advance(maxBytes: number): Uint8Array {
    const target = this.#targets[this.#index];
    const buffer = target?.buffer();
    if (target === undefined || buffer === undefined) throw revoked();
    const bytes = Math.min(maxBytes, target.bytes - this.#done);
    const part = buffer.subarray(target.offset + this.#done, target.offset + this.#done + bytes);
    this.#done += bytes;
    if (this.#done === target.bytes) {
      this.#index += 1;
      this.#done = 0;
    }
    return part;
  }
}
