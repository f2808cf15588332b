/** Steps from the top of a document: keys of mappings, indexes of lists. */
export type DocumentPath = readonly (string | number)[];

/** What is wrong with a policy profile, and where. */
export class PolicyProfileError extends Error {
  override readonly name = 'PolicyProfileError';
  readonly path: DocumentPath;
  /** The path as people write it, for example `models.llama.policy_classes[1].quantum`. */
  readonly where: string;

  constructor(path: DocumentPath, message: string) {
    const where = shown(path);
    super(where === '' ? message : `${where}: ${message}`);
    this.path = path;
    this.where = where;
  }
}

/** The known name that a misspelt one most likely means. */
export type Suggest = (name: string, known: readonly string[]) => string | undefined;

/** Names of classes, families and buckets: they travel in headers and metrics. */
const namePattern = /^[A-Za-z0-9_.-]{1,128}$/;

/** A mapping of a parsed document whose fields are read with their types; whatever is wrong says where. */
export class ProfileNode {
  readonly path: DocumentPath;
  readonly #fields: ReadonlyMap<string, unknown>;

  constructor(value: unknown, path: DocumentPath, known: readonly string[], suggest: Suggest) {
    this.path = path;
    this.#fields = fieldsOf(value, path);
    for (const key of this.#fields.keys()) {
      if (known.includes(key)) continue;
      const near = suggest(key, known);
      const hint = near === undefined ? `known are ${known.join(', ')}` : `did you mean ${near}?`;
      throw new PolicyProfileError([...path, key], `unknown key; ${hint}`);
    }
  }

  has(key: string): boolean {
    return (this.#fields.get(key) ?? null) !== null;
  }

  /** An error about one of its fields. */
  error(key: string, message: string): PolicyProfileError {
    return new PolicyProfileError([...this.path, key], message);
  }

  name(key: string): string {
    const value = this.#required(key);
    if (typeof value === 'string' && namePattern.test(value)) return value;
    throw this.error(key, `a name of 1 to 128 letters, digits, _, . or - is expected, not ${described(value)}`);
  }

  optionalName(key: string): string | undefined {
    return this.has(key) ? this.name(key) : undefined;
  }

  integer(key: string, min: number): number {
    const value = this.#required(key);
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min) return value;
    throw this.error(key, `a whole number of at least ${min} is expected, not ${described(value)}`);
  }

  optionalInteger(key: string, min: number): number | undefined {
    return this.has(key) ? this.integer(key, min) : undefined;
  }

  /** A finite number that is not negative. */
  optionalNumber(key: string): number | undefined {
    if (!this.has(key)) return undefined;
    const value = this.#required(key);
    if (typeof value === 'number' && Number.isFinite(value) && value >= 0) return value;
    throw this.error(key, `a number that is not negative is expected, not ${described(value)}`);
  }

  choice<const C extends string>(key: string, choices: readonly C[], fallback: C): C {
    if (!this.has(key)) return fallback;
    const value = this.#required(key);
    const found = choices.find((choice) => choice === value);
    if (found === undefined) throw this.error(key, `${choices.join(', ')} is expected, not ${described(value)}`);
    return found;
  }

  /** The items of a list that is not empty, each with its path. */
  items(key: string): { readonly value: unknown; readonly path: DocumentPath }[] {
    const value = this.#required(key);
    if (!Array.isArray(value)) throw this.error(key, `a list is expected, not ${described(value)}`);
    if (value.length === 0) throw this.error(key, 'at least one entry is needed');
    return value.map((item: unknown, index) => ({ value: item, path: [...this.path, key, index] }));
  }

  /** The entries of a mapping, each with its path; none if it is absent. */
  entries(key: string): { readonly name: string; readonly value: unknown; readonly path: DocumentPath }[] {
    if (!this.has(key)) return [];
    const path = [...this.path, key];
    return [...fieldsOf(this.#fields.get(key), path)].map(([name, value]) => ({ name, value, path: [...path, name] }));
  }

  #required(key: string): unknown {
    if (!this.has(key)) throw this.error(key, 'it is missing');
    return this.#fields.get(key);
  }
}

function fieldsOf(value: unknown, path: DocumentPath): ReadonlyMap<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return new Map(Object.entries(value));
  throw new PolicyProfileError(path, `a mapping is expected, not ${described(value)}`);
}

function described(value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a mapping';
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

function shown(path: DocumentPath): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else if (/^[\w-]+$/.test(step)) text += text === '' ? step : `.${step}`;
    else text += `[${JSON.stringify(step)}]`;
  }
  return text;
}
