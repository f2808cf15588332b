/** A parser that waits for more text whenever it yields. */
export type Step<T> = Generator<undefined, T, undefined>;

/** Text of one answer as it arrives: unread text, and a record of what was read since a point, to give it back. */
export class Input {
  text = '';
  at = 0;
  ended = false;
  /** UTF-16 units looked at so far, those looked at again included: what tests of linearity count. */
  work = 0;
  /**
   * What the parser does with more text while it only passes text on; whether it still does. Calling it saves the way
   * back into nested generators for nearly every token.
   */
  pump: (() => boolean) | null = null;
  #half = '';
  #recording = false;
  #recorded = '';
  #recordFrom = 0;

  push(piece: string): void {
    let more = this.#half === '' ? piece : this.#half + piece;
    this.#half = '';
    // Half a character waits for its other half, so that escapes never depend on where pieces were cut.
    if (isHighSurrogate(more.charCodeAt(more.length - 1))) {
      this.#half = more.slice(-1);
      more = more.slice(0, -1);
    }
    this.#append(more);
  }

  end(): void {
    this.#append(this.#half);
    this.#half = '';
    this.ended = true;
  }

  /** Begins to remember what is read. */
  record(): void {
    this.#recording = true;
    this.#recorded = '';
    this.#recordFrom = this.at;
  }

  /** What was read since record(), which ends. */
  takeRecord(): string {
    if (!this.#recording) return '';
    const text = this.#recorded + this.text.slice(this.#recordFrom, this.at);
    this.dropRecord();
    return text;
  }

  dropRecord(): void {
    this.#recording = false;
    this.#recorded = '';
  }

  #append(more: string): void {
    if (this.#recording) {
      this.#recorded += this.text.slice(this.#recordFrom, this.at);
      this.#recordFrom = 0;
    }
    this.text = this.at === this.text.length ? more : this.text.slice(this.at) + more;
    this.at = 0;
    this.work += this.text.length;
  }
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00;
}
