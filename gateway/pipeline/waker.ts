import type { GenerationObserver } from './generation.ts';

/** Wakes one reader when there is output; what the reader has not taken waits in the choices. */
export class Waker implements GenerationObserver {
  #changed = false;
  #wake: (() => void) | null = null;

  choiceChanged(): void {
    this.#changed = true;
    this.#wake?.();
  }

  async wait(): Promise<void> {
    if (!this.#changed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#changed = false;
    this.#wake = null;
  }
}
