/** A constraint that cannot become a grammar. `unsupported`: it means something, but not here; `invalid`: it contradicts itself or its own language. */
export class GrammarError extends Error {
  override readonly name = 'GrammarError';
  readonly kind: 'unsupported' | 'invalid';
  /** Where in the constraint, as a JSON pointer with `#` in front; for other languages empty. */
  readonly path: string;

  constructor(kind: 'unsupported' | 'invalid', path: string, message: string) {
    super(message);
    this.kind = kind;
    this.path = path;
  }
}
