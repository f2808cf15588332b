import { StatorError } from '#lib/errors/errors.ts';

/** A header's value and the name that it came under. */
interface HeaderValue {
  readonly name: string;
  readonly value: string;
}

/**
 * The headers of a request that routing may read, by lower-case name. Taken from the raw list, because node joins repeated
 * headers with commas. Empty values count as absent.
 */
export class HeaderValues {
  readonly #values = new Map<string, string[]>();

  constructor(rawHeaders: readonly string[]) {
    for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
      const value = (rawHeaders[index + 1] ?? '').trim();
      if (value === '') continue;
      const name = (rawHeaders[index] ?? '').toLowerCase();
      const values = this.#values.get(name);
      if (values === undefined) this.#values.set(name, [value]);
      else values.push(value);
    }
  }

  /** The first value of the first of these headers that is there. */
  first(names: readonly string[]): HeaderValue | null {
    for (const name of names) {
      const value = this.#values.get(name)?.[0];
      if (value !== undefined) return { name, value };
    }
    return null;
  }

  text(names: readonly string[]): string {
    return this.first(names)?.value ?? '';
  }

  /** The last value of the first of these headers that is there; proxies may have joined several with commas. */
  last(names: readonly string[]): HeaderValue | null {
    for (const name of names) {
      const parts = this.#values.get(name)?.flatMap((value) => value.split(',')) ?? [];
      const value = parts.findLast((part) => part.trim() !== '')?.trim();
      if (value !== undefined) return { name, value };
    }
    return null;
  }

  /** Headers whose names begin so, with the first value of each. */
  *startingWith(prefix: string): Generator<HeaderValue> {
    for (const [name, [value]] of this.#values)
      if (name.startsWith(prefix) && value !== undefined) yield { name, value };
  }
}

/** An integer in a range; null if it is absent or anything else. */
export function lenientInteger(found: HeaderValue | null, min: number, max: number): number | null {
  if (found === null || !/^-?\d{1,15}$/.test(found.value)) return null;
  const value = Number(found.value);
  return value >= min && value <= max ? value : null;
}

/** An integer in a range; null if absent. Throws `invalid_argument` naming the header for anything else. */
export function strictInteger(found: HeaderValue | null, min: number, max: number): number | null {
  if (found === null) return null;
  const value = lenientInteger(found, min, max);
  if (value === null) throw invalidHeader(found, `must be an integer from ${min} to ${max}`);
  return value;
}

const largestId = 2n ** 64n - 1n;

/** A 64-bit identifier; null if absent. Throws `invalid_argument` naming the header for anything else. */
export function strictId(found: HeaderValue | null): bigint | null {
  if (found === null) return null;
  const value = /^\d{1,20}$/.test(found.value) ? BigInt(found.value) : null;
  if (value === null || value > largestId) throw invalidHeader(found, 'must be a decimal number less than 2^64');
  return value;
}

/** One of several names; null if absent. Throws `invalid_argument` naming the header for anything else. */
export function strictName<T extends string>(found: HeaderValue | null, names: readonly T[]): T | null {
  if (found === null) return null;
  const name = names.find((one) => one === found.value.toLowerCase());
  if (name === undefined) throw invalidHeader(found, `must be one of ${names.join(', ')}`);
  return name;
}

/** Text of at most so many bytes; empty if absent. Throws `invalid_argument` naming the header if it is longer. */
export function boundedText(found: HeaderValue | null, maxBytes: number): string {
  if (found === null) return '';
  if (Buffer.byteLength(found.value) > maxBytes) throw invalidHeader(found, `must have at most ${maxBytes} bytes`);
  return found.value;
}

function invalidHeader({ name, value }: HeaderValue, problem: string): StatorError {
  return StatorError.invalid(name, `Validation: header \`${name}\`: ${problem}, got \`${value.slice(0, 100)}\``);
}
