import type { EngineSequence } from './sequence.ts';

/** Sequences that wait: higher priority first, then in order of arrival; who was preempted comes before all. */
export class WaitQueue {
  #items: EngineSequence[] = [];
  #head = 0;
  #size = 0;
  #tokens = 0;

  get size(): number {
    return this.#size;
  }

  /** Tokens of all that wait. */
  get tokens(): number {
    return this.#tokens;
  }

  add(sequence: EngineSequence): void {
    let at = this.#items.length;
    while (at > this.#head && (this.#items[at - 1]?.priority ?? 0) < sequence.priority) at--;
    if (at === this.#items.length) this.#items.push(sequence);
    else this.#items.splice(at, 0, sequence);
    this.#entered(sequence);
  }

  /** For a sequence that had its turn and was preempted. */
  addFirst(sequence: EngineSequence): void {
    if (this.#head > 0) this.#items[--this.#head] = sequence;
    else this.#items.unshift(sequence);
    this.#entered(sequence);
  }

  first(): EngineSequence | undefined {
    return this.#items[this.#head];
  }

  remove(sequence: EngineSequence): void {
    this.#size--;
    this.#tokens -= sequence.length;
    if (this.#items[this.#head] === sequence) {
      this.#advance();
      return;
    }
    const at = this.#items.indexOf(sequence, this.#head);
    if (at >= 0) this.#items.splice(at, 1);
  }

  /** In order. */
  items(): EngineSequence[] {
    return this.#items.slice(this.#head);
  }

  /** Puts all in another order. */
  reorder(items: readonly EngineSequence[]): void {
    this.#items = [...items];
    this.#head = 0;
  }

  #entered(sequence: EngineSequence): void {
    this.#size++;
    this.#tokens += sequence.length;
  }

  #advance(): void {
    this.#head++;
    if (this.#head < 1024 || this.#head * 2 < this.#items.length) return;
    this.#items = this.#items.slice(this.#head);
    this.#head = 0;
  }
}
