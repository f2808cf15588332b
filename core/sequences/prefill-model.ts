/** How much an observation still counts when the next one comes: about the last fifty matter. */
const memory = 0.98;
/** Observations before a slot is believed; until then all slots together tell. */
const enough = 8;

/** Sums of a weighted regression of milliseconds on tokens. */
interface Sums {
  weight: number;
  tokens: number;
  ms: number;
  squares: number;
  products: number;
  seen: number;
}

/**
 * How long prompts take on each slot, learned from how long they took: milliseconds = fixed + perToken · tokens, by least
 * squares in which old observations fade. A slot of which little is known is judged by all others.
 */
export class PrefillModel {
  readonly #ofSlot = new Map<number, Sums>();
  readonly #ofAll = emptySums();

  /** `tokens` were computed in `ms`: the prompt's own and those that waited before it. */
  observe(slot: number, tokens: number, ms: number): void {
    // No time at all: a prompt that was computed when it was placed, as those are that gateways announce again.
    if (!(tokens > 0 && ms > 0)) return;
    let sums = this.#ofSlot.get(slot);
    if (sums === undefined) {
      sums = emptySums();
      this.#ofSlot.set(slot, sums);
    }
    addTo(sums, tokens, ms);
    addTo(this.#ofAll, tokens, ms);
  }

  /** Undefined: not enough has been observed. */
  expectedMs(slot: number, tokens: number): number | undefined {
    const own = this.#ofSlot.get(slot);
    const sums = own !== undefined && own.seen >= enough ? own : this.#ofAll;
    return sums.seen < enough ? undefined : estimate(sums, tokens);
  }

  /** A slot's worker is gone; its number may stand for another. */
  forget(slot: number): void {
    this.#ofSlot.delete(slot);
  }
}

function emptySums(): Sums {
  return { weight: 0, tokens: 0, ms: 0, squares: 0, products: 0, seen: 0 };
}

function addTo(sums: Sums, tokens: number, ms: number): void {
  sums.weight = sums.weight * memory + 1;
  sums.tokens = sums.tokens * memory + tokens;
  sums.ms = sums.ms * memory + ms;
  sums.squares = sums.squares * memory + tokens * tokens;
  sums.products = sums.products * memory + tokens * ms;
  sums.seen = Math.min(enough, sums.seen + 1);
}

/** A line with neither a negative slope nor a negative start: the best through the origin where the best is none. */
function estimate({ weight, tokens: sumTokens, ms, squares, products }: Sums, tokens: number): number {
  const spread = weight * squares - sumTokens * sumTokens;
  const perToken = spread > 1e-9 * weight * squares ? (weight * products - sumTokens * ms) / spread : -1;
  const fixed = (ms - perToken * sumTokens) / weight;
  return perToken >= 0 && fixed >= 0 ? fixed + perToken * tokens : (products / squares) * tokens;
}
