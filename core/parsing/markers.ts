/** Finds the leftmost, then longest, of some markers in text that may go on. Results stay in its fields until the next search. */
export class Markers {
  readonly all: readonly string[];
  readonly #ascii = new Uint8Array(128);
  readonly #others: ReadonlySet<number>;
  /** Where the marker begins, or the point before which no marker can begin. */
  position = 0;
  /** The marker found; -1: none yet. */
  index = -1;

  constructor(all: readonly string[]) {
    this.all = all;
    const others = new Set<number>();
    for (const marker of all) {
      const unit = marker.charCodeAt(0);
      if (unit < 128) this.#ascii[unit] = 1;
      else others.add(unit);
    }
    this.#others = others;
  }

  /** `more`: the text may go on, so that a marker's beginning at its end counts. */
  find(text: string, from: number, more: boolean): void {
    this.index = -1;
    for (let i = from; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      if (unit < 128 ? this.#ascii[unit] === 0 : !this.#others.has(unit)) continue;
      if (!this.test(text, i, more)) continue;
      this.position = i;
      return;
    }
    this.position = text.length;
  }

  /** Whether a marker begins at `at`, or may begin there once more text has come (then `index` is -1). */
  test(text: string, at: number, more: boolean): boolean {
    this.index = -1;
    let longest = 0;
    for (let k = 0; k < this.all.length; k++) {
      const marker = this.all[k] ?? '';
      if (text.startsWith(marker, at)) {
        if (marker.length > longest) {
          longest = marker.length;
          this.index = k;
        }
      } else if (more && text.length - at < marker.length && marker.startsWith(text.slice(at))) {
        this.index = -1;
        return true;
      }
    }
    return longest > 0;
  }
}
