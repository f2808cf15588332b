/**
 * Deficit round robin (Shreedhar and Varghese 1995) between classes whose requests cost tokens. Turns go around; at its
 * turn a class is granted its quantum, serves heads while it can pay for them, and carries what is left to its next turn.
 * As a request may cost many quanta, rounds in which nobody can pay are skipped in one step. Classes are numbered from 0.
 */
export class DeficitRoundRobin {
  readonly #quanta: readonly number[];
  readonly #deficits: number[];
  /** Whose turn it is. */
  #turn = 0;
  /** Whether it has been granted its quantum for this turn. */
  #granted = false;

  constructor(quanta: readonly number[]) {
    this.#quanta = quanta;
    this.#deficits = quanta.map(() => 0);
  }

  /** Tokens that the class may spend before its next quantum. */
  deficitOf(index: number): number {
    return this.#deficits[index] ?? 0;
  }

  /**
   * The class whose head goes next; undefined: none has a head that can go. headCost is the cost of a class's head, or
   * undefined if it is empty or its head cannot go now, which earns no credit; it is asked at most once for each class.
   */
  next(headCost: (index: number) => number | undefined): number | undefined {
    const costs = new Map<number, number | undefined>();
    const costOf = (index: number): number | undefined => {
      if (!costs.has(index)) costs.set(index, headCost(index));
      return costs.get(index);
    };
    const granted = this.#granted;
    const found = this.#goAround(costOf);
    if (found !== undefined) return found;
    const rounds = this.#roundsUntilProgress(costs);
    if (rounds === undefined) {
      // Nobody can go: it is still the same turn, or asking often would earn credit.
      this.#granted = granted;
      return undefined;
    }
    // The last of them is walked, because who comes first in it goes first.
    for (const [index, cost] of costs) if (cost !== undefined) this.#grant(index, rounds - 1);
    return this.#goAround(costOf);
  }

  /** The head of the class went; `emptied`: it was the last. */
  spend(index: number, cost: number, emptied: boolean): void {
    this.#deficits[index] = this.deficitOf(index) - cost;
    if (emptied) this.reset(index);
  }

  /** The class is empty: it saves no credit, and its turn ends. */
  reset(index: number): void {
    this.#deficits[index] = 0;
    if (this.#turn === index) this.#pass();
  }

  /** One turn for each class, until one can pay for its head. */
  #goAround(costOf: (index: number) => number | undefined): number | undefined {
    for (let visited = 0; visited < this.#quanta.length; visited++) {
      const index = this.#turn;
      const cost = costOf(index);
      if (cost !== undefined) {
        if (!this.#granted) this.#grant(index, 1);
        this.#granted = true;
        if (cost <= this.deficitOf(index)) return index;
      }
      this.#pass();
    }
    return undefined;
  }

  #pass(): void {
    this.#turn = (this.#turn + 1) % this.#quanta.length;
    this.#granted = false;
  }

  #grant(index: number, rounds: number): void {
    this.#deficits[index] = this.deficitOf(index) + rounds * (this.#quanta[index] ?? 0);
  }

  #roundsUntilProgress(costs: ReadonlyMap<number, number | undefined>): number | undefined {
    let least: number | undefined;
    for (const [index, cost] of costs) {
      if (cost === undefined) continue;
      const rounds = Math.ceil((cost - this.deficitOf(index)) / (this.#quanta[index] ?? 1));
      if (least === undefined || rounds < least) least = rounds;
    }
    return least;
  }
}
