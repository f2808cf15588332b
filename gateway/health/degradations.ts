/** What the gateway does without at present, in words. Each shows in /health, in a metric and in the log. */
export type Degradation = 'no_tokenizer' | 'no_router' | 'no_workers' | 'stale_keys' | 'no_limits_store';

const words: Readonly<Record<Degradation, string>> = {
  no_tokenizer: 'No tokenizer is known: prompts cannot be prepared.',
  no_router: 'No router is known: workers are chosen in turn.',
  no_workers: 'No worker is known: no model can be served.',
  stale_keys: 'The file or store of API keys cannot be used as it is now: the keys read before are in force.',
  no_limits_store: 'The store of limits cannot be reached: limits are not shared with other gateways.',
};

/** Computes degradations from the parts that know. */
export class Degradations {
  readonly #checks: Readonly<Record<Degradation, () => boolean>>;

  constructor(checks: Readonly<Record<Degradation, () => boolean>>) {
    this.#checks = checks;
  }

  current(): readonly Degradation[] {
    const all = Object.keys(words) as Degradation[];
    return all.filter((degradation) => this.#checks[degradation]());
  }

  describe(degradation: Degradation): string {
    return words[degradation];
  }
}
