import { TemplateError } from '../errors.ts';
import { Float } from '../value.ts';

/** Keys of dicts. Booleans as keys are rare and kept apart from 1 and 0. */
export type Key = string | number | bigint | boolean | null;

/**
 * What a template computes with: Data (see ../value.ts) plus what only exists while it runs. undefined is Jinja's
 * undefined, which prints as nothing and fails when its attributes are asked for.
 */
export type Value =
  | null
  | undefined
  | boolean
  | number
  | bigint
  | string
  | Float
  | readonly Value[]
  | ReadonlyMap<Key, Value>
  | Tuple
  | Lazy
  | Namespace
  | Callable;

export class Tuple {
  readonly items: readonly Value[];

  constructor(items: readonly Value[]) {
    this.items = items;
  }
}

/** What Python makes of generators, views and iterators: can be iterated, has no length unless it is a view. */
export class Lazy {
  readonly items: readonly Value[];
  /** `dict_items` and the like; null for generators, which are always true. */
  readonly view: string | null;

  constructor(items: readonly Value[], view: string | null = null) {
    this.items = items;
    this.view = view;
  }
}

/** The result of range(): can be indexed too, and prints its bounds. */
export class Range extends Lazy {
  readonly bounds: readonly number[];

  constructor(items: readonly number[], bounds: readonly number[]) {
    super(items, 'range');
    this.bounds = bounds;
  }
}

/** The result of namespace(): the only thing whose attributes can be set. */
export class Namespace {
  readonly values = new Map<string, Value>();
}

export type Named = ReadonlyMap<string, Value>;

/** Something to call; `attributes` are what `.name` gives. */
export class Callable {
  readonly call: (args: readonly Value[], named: Named) => Value;
  readonly attributes: ReadonlyMap<string, Value>;

  constructor(
    call: (args: readonly Value[], named: Named) => Value,
    attributes: ReadonlyMap<string, Value> = new Map(),
  ) {
    this.call = call;
    this.attributes = attributes;
  }
}

export function fail(message: string): TemplateError {
  return new TemplateError('failed', message);
}

export function isList(value: Value): value is readonly Value[] {
  return Array.isArray(value);
}

export function isDict(value: Value): value is ReadonlyMap<Key, Value> {
  return value instanceof Map;
}

export function isInteger(value: Value): value is number | bigint {
  return typeof value === 'number' || typeof value === 'bigint';
}

/** Python's name of a value's type, for messages. */
export function typeName(value: Value): string {
  if (value === null) return 'NoneType';
  if (value === undefined) return 'undefined';
  if (typeof value === 'string') return 'str';
  if (typeof value === 'boolean') return 'bool';
  if (isInteger(value)) return 'int';
  if (value instanceof Float) return 'float';
  if (isList(value)) return 'list';
  if (isDict(value)) return 'dict';
  if (value instanceof Tuple) return 'tuple';
  if (value instanceof Namespace) return 'namespace';
  return value instanceof Lazy ? (value.view ?? 'generator') : 'function';
}

export function isTrue(value: Value): boolean {
  if (value === null || value === undefined) return false;
  if (typeof value === 'object') {
    if (isList(value)) return value.length > 0;
    if (isDict(value)) return value.size > 0;
    if (value instanceof Float) return value.value !== 0;
    if (value instanceof Tuple) return value.items.length > 0;
    if (value instanceof Lazy) return value.view === null || value.items.length > 0;
    return true;
  }
  return value !== '' && value !== 0 && value !== 0n && value !== false;
}

/** The items that iterating gives. Throws for what cannot be iterated. */
export function iterate(value: Value): readonly Value[] {
  if (isList(value)) return value;
  if (value === undefined) return [];
  if (value instanceof Tuple || value instanceof Lazy) return value.items;
  if (isDict(value)) return [...value.keys()];
  if (typeof value === 'string') return Array.from(value);
  throw fail(`'${typeName(value)}' object is not iterable`);
}

export function isIterable(value: Value): boolean {
  return (
    isList(value) ||
    isDict(value) ||
    typeof value === 'string' ||
    value instanceof Tuple ||
    value instanceof Lazy ||
    value === undefined
  );
}

export function lengthOf(value: Value): number {
  if (typeof value === 'string') return codePoints(value);
  if (isList(value)) return value.length;
  if (isDict(value)) return value.size;
  if (value === undefined) return 0;
  if (value instanceof Tuple || (value instanceof Lazy && value.view !== null)) return value.items.length;
  throw fail(`object of type '${typeName(value)}' has no len()`);
}

/** Python counts characters, JavaScript UTF-16 units. */
export function codePoints(text: string): number {
  let count = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0xd800 && unit < 0xdc00 && i + 1 < text.length) {
      const low = text.charCodeAt(i + 1);
      if (low >= 0xdc00 && low < 0xe000) {
        count--;
        i++;
      }
    }
  }
  return count;
}

export function keyOf(value: Value): Key {
  if (typeof value === 'string' || typeof value === 'boolean' || value === null || isInteger(value)) return value;
  if (value instanceof Float && Number.isSafeInteger(value.value)) return value.value;
  throw fail(`unhashable type: '${typeName(value)}'`);
}

export function text(value: Value, what: string): string {
  if (typeof value === 'string') return value;
  throw fail(`${what} must be str, not ${typeName(value)}`);
}

/** A small integer: an index, a width, a count. */
export function index(value: Value, what: string): number {
  if (typeof value === 'boolean') return value ? 1 : 0;
  if (typeof value === 'number') return value;
  throw fail(`${what} must be int, not ${typeName(value)}`);
}
