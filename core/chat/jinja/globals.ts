import { TemplateError } from '../errors.ts';
import { bind } from './arguments.ts';
import { str } from './print.ts';
import type { Scope } from './run.ts';
import { strftime } from './strftime.ts';
import {
  Callable,
  fail,
  index,
  isDict,
  iterate,
  type Key,
  keyOf,
  type Named,
  Namespace,
  Range,
  text,
  type Value,
} from './value.ts';

/** As in Jinja's sandbox. */
const maxRange = 100_000;

/** Puts Jinja's global functions into a scope, with those that transformers adds. */
export function defineGlobals(scope: Scope, now: Date): void {
  const define = (name: string, call: (args: readonly Value[], named: Named) => Value): void =>
    scope.set(name, new Callable(call));
  define('range', range);
  define('dict', dict);
  define('namespace', namespace);
  define('joiner', joiner);
  define('cycler', cycler);
  define('strftime_now', ([format]) => strftime(now, text(format, 'format')));
  define('raise_exception', ([message]) => {
    throw new TemplateError('raised', str(message));
  });
}

function range(args: readonly Value[], named: Named): Value {
  const [first, second, third] = bind('range', ['start', 'stop', 'step'], args, named);
  const [start, stop] = second === undefined ? [0, first] : [index(first, 'start'), second];
  const step = third === undefined ? 1 : index(third, 'step');
  const end = index(stop, 'stop');
  if (step === 0) throw fail('range() arg 3 must not be zero');
  const length = Math.max(0, Math.ceil((end - start) / step));
  if (length > maxRange) throw fail(`Range too big. The sandbox blocks ranges larger than MAX_RANGE (${maxRange}).`);
  return new Range(
    Array.from({ length }, (_, i) => start + i * step),
    step === 1 ? [start, end] : [start, end, step],
  );
}

function dict([source]: readonly Value[], named: Named): Value {
  const map = new Map<Key, Value>();
  if (isDict(source)) for (const [key, value] of source) map.set(key, value);
  else if (source !== undefined) {
    for (const pair of iterate(source)) {
      const [key, value] = iterate(pair);
      map.set(keyOf(key), value);
    }
  }
  for (const [key, value] of named) map.set(key, value);
  return map;
}

function namespace([source]: readonly Value[], named: Named): Value {
  const result = new Namespace();
  const values = dict(source === undefined ? [] : [source], named);
  if (isDict(values)) for (const [key, value] of values) result.values.set(String(key), value);
  return result;
}

function joiner([separator]: readonly Value[]): Value {
  const between = separator === undefined ? ', ' : str(separator);
  let used = false;
  return new Callable(() => {
    const text = used ? between : '';
    used = true;
    return text;
  });
}

function cycler(items: readonly Value[]): Value {
  if (items.length === 0) throw fail('at least one item has to be provided');
  let at = 0;
  const attributes = new Map<string, Value>();
  const show = (): Value => {
    const value = items[at];
    attributes.set('current', value);
    return value;
  };
  attributes.set(
    'next',
    new Callable(() => {
      const value = items[at];
      at = (at + 1) % items.length;
      show();
      return value;
    }),
  );
  attributes.set(
    'reset',
    new Callable(() => {
      at = 0;
      show();
      return null;
    }),
  );
  show();
  return new Callable(() => null, attributes);
}
