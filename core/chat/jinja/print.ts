import { Float } from '../value.ts';
import { reprFloat, reprString } from './python-string.ts';
import { fail, isDict, isList, Lazy, Namespace, Range, Tuple, typeName, type Value } from './value.ts';

/** str(value): what `{{ value }}` prints. */
export function str(value: Value): string {
  if (typeof value === 'string') return value;
  return value === undefined ? '' : repr(value);
}

/** repr(value): how a value stands inside a printed list. */
export function repr(value: Value): string {
  if (value === null) return 'None';
  if (value === undefined) return 'Undefined';
  if (value === true) return 'True';
  if (value === false) return 'False';
  if (typeof value === 'string') return reprString(value);
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  if (value instanceof Float) return reprFloat(value.value);
  if (isList(value)) return `[${value.map(repr).join(', ')}]`;
  if (isDict(value)) return `{${[...value].map(([key, entry]) => `${repr(key)}: ${repr(entry)}`).join(', ')}}`;
  if (value instanceof Tuple) return reprTuple(value);
  if (value instanceof Namespace) return `<Namespace ${repr(new Map(value.values))}>`;
  if (value instanceof Lazy && value.view !== null) return reprView(value);
  return `<${typeName(value)} object>`;
}

function reprTuple({ items }: Tuple): string {
  return items.length === 1 ? `(${repr(items[0])},)` : `(${items.map(repr).join(', ')})`;
}

function reprView(value: Lazy): string {
  if (value instanceof Range) return `range(${value.bounds.join(', ')})`;
  return `${value.view}([${value.items.map(repr).join(', ')}])`;
}

export interface JsonOptions {
  readonly ensureAscii: boolean;
  /** Spaces of a level; null: everything on one line. */
  readonly indent: string | null;
  readonly itemSeparator: string;
  readonly keySeparator: string;
  readonly sortKeys: boolean;
}

/** json.dumps as transformers' tojson calls it: keys in their order, no HTML escapes. */
export function toJson(value: Value, options: JsonOptions, depth = 0): string {
  if (value === null) return 'null';
  if (typeof value === 'boolean') return String(value);
  if (typeof value === 'string') return jsonString(value, options.ensureAscii);
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  if (value instanceof Float) return jsonFloat(value.value);
  if (isDict(value)) {
    const entries = [...value].map(([key, entry]) => [jsonKey(key), entry] as const);
    if (options.sortKeys) entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    const members = entries.map(
      ([key, entry]) => jsonString(key, options.ensureAscii) + options.keySeparator + toJson(entry, options, depth + 1),
    );
    return enclose('{', '}', members, options, depth);
  }
  const items = isList(value) ? value : value instanceof Tuple ? value.items : null;
  if (items === null) throw fail(`Object of type ${typeName(value)} is not JSON serializable`);
  return enclose(
    '[',
    ']',
    items.map((item) => toJson(item, options, depth + 1)),
    options,
    depth,
  );
}

function enclose(open: string, close: string, parts: readonly string[], options: JsonOptions, depth: number): string {
  if (parts.length === 0) return open + close;
  if (options.indent === null) return open + parts.join(options.itemSeparator) + close;
  const line = `\n${options.indent.repeat(depth)}`;
  const inner = line + options.indent;
  return open + inner + parts.join(options.itemSeparator + inner) + line + close;
}

function jsonKey(key: Value): string {
  if (typeof key === 'string') return key;
  if (key === null) return 'null';
  return typeof key === 'boolean' ? String(key) : str(key);
}

function jsonFloat(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity';
  return reprFloat(value);
}

function jsonString(value: string, ensureAscii: boolean): string {
  const quoted = JSON.stringify(value);
  if (!ensureAscii) return quoted;
  return quoted.replace(/[\x7f-\uffff]/g, (unit) =>
    unit === '\x7f' ? unit : `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
