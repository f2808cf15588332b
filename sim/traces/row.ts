import { StatorError } from '#lib/errors/errors.ts';
import type { Line } from './lines.ts';

interface Limits {
  readonly min?: number;
  readonly max?: number;
}

/** An object of a trace's file. Its readers throw `invalid_argument`, naming file, line and field. */
export class Row {
  readonly file: string;
  readonly line: number;
  readonly #path: string;
  readonly #fields: Readonly<Record<string, unknown>>;

  constructor(file: string, line: number, fields: unknown, path = '') {
    this.file = file;
    this.line = line;
    this.#path = path;
    if (typeof fields !== 'object' || fields === null || Array.isArray(fields))
      throw this.wrong('', `expected an object, got ${shown(fields)}`);
    this.#fields = fields as Record<string, unknown>;
  }

  /** `exact`: whole numbers that a double cannot hold become decimal strings instead of other numbers. */
  static parse(file: string, { number, text }: Line, exact = false): Row {
    try {
      return new Row(file, number, exact ? JSON.parse(text, exactNumbers) : JSON.parse(text));
    } catch (thrown) {
      if (thrown instanceof StatorError) throw thrown;
      const because = thrown instanceof Error ? thrown.message : String(thrown);
      throw StatorError.invalid('trace', `${file}, line ${number}: no JSON: ${because}`);
    }
  }

  /** The first of the names that the row has; undefined: none. */
  integer(names: readonly string[], limits: Limits = {}): number | undefined {
    const found = this.number(names, limits);
    if (found !== undefined && !Number.isSafeInteger(found))
      throw this.wrong(this.#named(names), `expected a whole number, got ${found}`);
    return found;
  }

  number(names: readonly string[], { min = -Infinity, max = Infinity }: Limits = {}): number | undefined {
    const name = this.#named(names);
    const value = this.#fields[name];
    if (value === undefined || value === null) return undefined;
    if (typeof value !== 'number') throw this.wrong(name, `expected a number, got ${shown(value)}`);
    if (value < min) throw this.wrong(name, `expected at least ${min}, got ${value}`);
    if (value > max) throw this.wrong(name, `expected at most ${max}, got ${value}`);
    return value;
  }

  string(name: string): string {
    const value = this.#fields[name] ?? '';
    // Identifiers that look like numbers are often written as such.
    if (typeof value === 'number') return String(value);
    if (typeof value !== 'string') throw this.wrong(name, `expected text, got ${shown(value)}`);
    return value;
  }

  boolean(name: string): boolean {
    const value = this.#fields[name] ?? false;
    if (typeof value !== 'boolean') throw this.wrong(name, `expected true or false, got ${shown(value)}`);
    return value;
  }

  numbers(name: string, limits: Limits & { readonly whole?: boolean } = {}): number[] | undefined {
    const values = this.#list(name);
    values?.forEach((value, at) => {
      const field = `${name}[${at}]`;
      if (typeof value !== 'number') throw this.wrong(field, `expected a number, got ${shown(value)}`);
      if (limits.whole === true && !Number.isSafeInteger(value))
        throw this.wrong(field, `expected a whole number below 2^53, got ${value}`);
      if (value < (limits.min ?? -Infinity)) throw this.wrong(field, `expected at least ${limits.min}, got ${value}`);
    });
    return values as number[] | undefined;
  }

  /** Whole numbers of up to 64 bits, folded to 53: of hashes no two meet. The row must be parsed exactly. */
  hashes(name: string): number[] | undefined {
    return this.#list(name)?.map((value, at) => {
      if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
      if (typeof value === 'string' && /^\d{1,20}$/.test(value)) return Number(BigInt.asUintN(53, BigInt(value)));
      throw this.wrong(`${name}[${at}]`, `expected a hash of 64 bits, got ${shown(value)}`);
    });
  }

  strings(name: string): string[] {
    const values = this.#list(name) ?? [];
    return values.map((value, at) => {
      if (typeof value !== 'string' && typeof value !== 'number')
        throw this.wrong(`${name}[${at}]`, `expected text, got ${shown(value)}`);
      return String(value);
    });
  }

  object(name: string): Row | undefined {
    const value = this.#fields[name];
    return value === undefined || value === null
      ? undefined
      : new Row(this.file, this.line, value, `${this.#path}${name}.`);
  }

  /** The value of a field that the row must have. */
  required<T>(name: string, value: T | undefined): T {
    if (value === undefined) throw this.wrong(name, 'missing');
    return value;
  }

  wrong(name: string, message: string): StatorError {
    const field = `${this.#path}${name}`;
    const where = `${this.file}, line ${this.line}`;
    return StatorError.invalid(field || 'trace', `${where}${field === '' ? '' : `, ${field}`}: ${message}.`);
  }

  #named(names: readonly string[]): string {
    const used = names.find((name) => this.#fields[name] !== undefined && this.#fields[name] !== null);
    return used ?? names[0] ?? '';
  }

  #list(name: string): unknown[] | undefined {
    const value = this.#fields[name];
    if (value === undefined || value === null) return undefined;
    if (!Array.isArray(value)) throw this.wrong(name, `expected a list, got ${shown(value)}`);
    return value;
  }
}

/** A reviver; `source` is the text of the number. */
function exactNumbers(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value) || !Number.isInteger(value)) return value;
  return context?.source ?? value;
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
