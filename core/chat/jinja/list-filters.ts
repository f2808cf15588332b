import { bind, or } from './arguments.ts';
import { attribute, attributePath, pairs } from './members.ts';
import { add, equal, order, sized } from './operators.ts';
import { str } from './print.ts';
import { testNamed } from './tests.ts';
import type { Filter } from './text-filters.ts';
import {
  fail,
  index,
  isDict,
  isTrue,
  iterate,
  Lazy,
  lengthOf,
  type Named,
  Tuple,
  text,
  typeName,
  type Value,
} from './value.ts';

/** Filters of lists and dicts. `apply` runs another filter by its name, for `map`. */
export function listFilters(apply: (name: string) => Filter): Readonly<Record<string, Filter>> {
  return {
    length: (value) => lengthOf(value),
    count: (value) => lengthOf(value),
    first: (value) => iterate(value)[0],
    last: (value) => iterate(value).at(-1),
    list: (value) => [...iterate(value)],
    reverse: (value) =>
      typeof value === 'string' ? Array.from(value).reverse().join('') : new Lazy(iterate(value).toReversed()),
    join: (value, args, named) => join(value, bind('join', ['d', 'attribute'], args, named)),
    sort: (value, args, named) => sort(value, bind('sort', ['reverse', 'case_sensitive', 'attribute'], args, named)),
    unique: (value, args, named) => unique(value, bind('unique', ['case_sensitive', 'attribute'], args, named)),
    min: (value, args, named) => extreme(value, args, named, -1),
    max: (value, args, named) => extreme(value, args, named, 1),
    sum: (value, args, named) => {
      const [path, start] = bind('sum', ['attribute', 'start'], args, named);
      const of = keyFunction(path);
      return iterate(value).reduce<Value>((total, entry) => add(total, of(entry)), or(start, 0));
    },
    items: (value) => {
      if (value === undefined) return new Lazy([]);
      if (!isDict(value)) throw fail('Can only get item pairs from a mapping.');
      return new Lazy(pairs(value));
    },
    dictsort: (value, args, named) =>
      dictSort(value, bind('dictsort', ['case_sensitive', 'by', 'reverse'], args, named)),
    map: (value, args, named) => map(value, args, named, apply),
    select: (value, args) => choose(value, args, (entry) => entry, true),
    reject: (value, args) => choose(value, args, (entry) => entry, false),
    selectattr: (value, [path, ...args]) => choose(value, args, attributePath(path), true),
    rejectattr: (value, [path, ...args]) => choose(value, args, attributePath(path), false),
    groupby: (value, args, named) =>
      groupBy(value, bind('groupby', ['attribute', 'default', 'case_sensitive'], args, named)),
    batch: (value, args, named) => batch(value, bind('batch', ['linecount', 'fill_with'], args, named)),
    slice: (value, args, named) => columns(value, bind('slice', ['slices', 'fill_with'], args, named)),
    attr: (value, [name]) => (value === undefined ? undefined : attributeOnly(value, text(name, 'name'))),
    default: (value, args, named) => {
      const [fallback, boolean] = bind('default', ['default_value', 'boolean'], args, named);
      const absent = value === undefined || (isTrue(boolean) && !isTrue(value));
      return absent ? or(fallback, '') : value;
    },
  };
}

/** Methods count as attributes, items of a dict do not. */
function attributeOnly(value: Value, name: string): Value {
  return isDict(value) ? attribute(new Map(), name) : attribute(value, name);
}

function keyFunction(path: Value): (value: Value) => Value {
  return path === undefined || path === null ? (value) => value : attributePath(path);
}

/** Text is compared without its case unless asked. */
function folded(caseSensitive: Value): (value: Value) => Value {
  return isTrue(caseSensitive)
    ? (value) => value
    : (value) => (typeof value === 'string' ? value.toLowerCase() : value);
}

function join(value: Value, [separator, path]: readonly Value[]): string {
  const of = keyFunction(path);
  return sized(
    iterate(value)
      .map((entry) => str(of(entry)))
      .join(str(or(separator, ''))),
  );
}

function sort(value: Value, [reverse, caseSensitive, path]: readonly Value[]): Value {
  const fold = folded(caseSensitive);
  const paths = typeof path === 'string' ? path.split(',').map((part) => keyFunction(part)) : [keyFunction(path)];
  const keyed = iterate(value).map((entry) => ({ entry, keys: paths.map((of) => fold(of(entry))) }));
  const direction = isTrue(reverse) ? -1 : 1;
  keyed.sort((a, b) => direction * order(a.keys, b.keys));
  return keyed.map(({ entry }) => entry);
}

function unique(value: Value, [caseSensitive, path]: readonly Value[]): Value {
  const [fold, of] = [folded(caseSensitive), keyFunction(path)];
  const seen: Value[] = [];
  return new Lazy(
    iterate(value).filter((entry) => {
      const key = fold(of(entry));
      if (seen.some((other) => equal(other, key))) return false;
      seen.push(key);
      return true;
    }),
  );
}

function extreme(value: Value, args: readonly Value[], named: Named, sign: number): Value {
  const [caseSensitive, path] = bind(sign < 0 ? 'min' : 'max', ['case_sensitive', 'attribute'], args, named);
  const [fold, of] = [folded(caseSensitive), keyFunction(path)];
  const [first, ...rest] = iterate(value);
  return rest.reduce((best, entry) => (sign * order(fold(of(entry)), fold(of(best))) > 0 ? entry : best), first);
}

function dictSort(value: Value, [caseSensitive, by, reverse]: readonly Value[]): Value {
  if (!isDict(value)) throw fail(`'${typeName(value)}' object has no attribute 'items'`);
  const at = text(or(by, 'key'), 'by') === 'value' ? 1 : 0;
  const fold = folded(caseSensitive);
  const direction = isTrue(reverse) ? -1 : 1;
  return pairs(value).sort((a, b) => direction * order(fold(a.items[at]), fold(b.items[at])));
}

function map(value: Value, args: readonly Value[], named: Named, apply: (name: string) => Filter): Value {
  if (named.has('attribute')) {
    const of = attributePath(named.get('attribute'));
    return new Lazy(iterate(value).map((entry) => or(of(entry), named.get('default'))));
  }
  const [name, ...rest] = args;
  const filter = apply(text(name, 'the filter of map'));
  return new Lazy(iterate(value).map((entry) => filter(entry, rest, named)));
}

function choose(value: Value, args: readonly Value[], of: (entry: Value) => Value, wanted: boolean): Value {
  const [name, ...rest] = args;
  const test = name === undefined ? isTrue : testNamed(text(name, 'the test'));
  return new Lazy(iterate(value).filter((entry) => test(of(entry), rest) === wanted));
}

function groupBy(value: Value, [path, fallback, caseSensitive]: readonly Value[]): Value {
  const [fold, of] = [folded(caseSensitive), attributePath(path)];
  const keyed = iterate(value).map((entry) => ({ entry, key: or(of(entry), fallback) }));
  keyed.sort((a, b) => order(fold(a.key), fold(b.key)));
  const groups: { readonly key: Value; readonly entries: Value[] }[] = [];
  for (const { entry, key } of keyed) {
    const last = groups.at(-1);
    if (last !== undefined && equal(fold(last.key), fold(key))) last.entries.push(entry);
    else groups.push({ key, entries: [entry] });
  }
  return groups.map(({ key, entries }) => new Tuple([key, entries]));
}

function batch(value: Value, [size, fill]: readonly Value[]): Value {
  const count = index(size, 'linecount');
  if (count < 1) throw fail('linecount must be at least 1');
  const items = iterate(value);
  const rows: Value[][] = [];
  for (let at = 0; at < items.length; at += count) rows.push(items.slice(at, at + count));
  const last = rows.at(-1);
  if (fill !== undefined && fill !== null)
    while (last !== undefined && last.length < Math.min(count, 100_000)) last.push(fill);
  return new Lazy(rows);
}

function columns(value: Value, [slices, fill]: readonly Value[]): Value {
  const count = index(slices, 'slices');
  if (count < 1 || count > 100_000) throw fail('slices must be at least 1');
  const items = iterate(value);
  const [each, more] = [Math.floor(items.length / count), items.length % count];
  const parts: Value[][] = [];
  for (let i = 0, at = 0; i < count; i++) {
    const size = each + (i < more ? 1 : 0);
    const part = items.slice(at, at + size);
    at += size;
    if (fill !== undefined && fill !== null && i >= more) part.push(fill);
    parts.push(part);
  }
  return new Lazy(parts);
}
