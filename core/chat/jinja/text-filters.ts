import { Float } from '../value.ts';
import { bind, or } from './arguments.ts';
import { aligned, formatPercent } from './format.ts';
import { floatOf, numeric, sized, small } from './operators.ts';
import { type JsonOptions, str, toJson } from './print.ts';
import { capitalize, stripEnd, stripStart } from './python-string.ts';
import { replace } from './string-methods.ts';
import {
  fail,
  index,
  isDict,
  isList,
  isTrue,
  iterate,
  type Named,
  Tuple,
  text,
  typeName,
  type Value,
} from './value.ts';

export type Filter = (value: Value, args: readonly Value[], named: Named) => Value;

const escapes: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&#34;',
  "'": '&#39;',
};

function escapeHtml(value: Value): string {
  return sized(str(value).replace(/[&<>"']/g, (character) => escapes[character] ?? character));
}

/** Filters that make text or numbers. */
export const textFilters: Readonly<Record<string, Filter>> = {
  upper: (value) => str(value).toUpperCase(),
  lower: (value) => str(value).toLowerCase(),
  capitalize: (value) => capitalize(str(value)),
  title: (value) => titleFilter(str(value)),
  trim: (value, args, named) => {
    const [characters] = bind('trim', ['chars'], args, named);
    const set = characters === undefined || characters === null ? null : text(characters, 'chars');
    return stripEnd(stripStart(str(value), set), set);
  },
  string: (value) => str(value),
  safe: (value) => str(value),
  escape: escapeHtml,
  e: escapeHtml,
  forceescape: escapeHtml,
  replace: (value, args, named) => replace(str(value), ...bind('replace', ['old', 'new', 'count'], args, named)),
  indent: (value, args, named) => indent(str(value), bind('indent', ['width', 'first', 'blank'], args, named)),
  center: (value, args, named) => {
    const [width] = bind('center', ['width'], args, named);
    return aligned(str(value), index(or(width, 80), 'width'), ' ', '^');
  },
  wordcount: (value) => str(value).match(/[\p{L}\p{N}_]+/gu)?.length ?? 0,
  format: (value, args, named) => sized(formatPercent(str(value), named.size > 0 ? new Map(named) : new Tuple(args))),
  urlencode: (value) => urlEncode(value),
  tojson: (value, args, named) => sized(toJson(value, jsonOptions(args, named))),
  int: (value, args, named) => toInteger(value, bind('int', ['default', 'base'], args, named)),
  float: (value, args, named) => {
    const [fallback] = bind('float', ['default'], args, named);
    return toFloat(value) ?? or(fallback, new Float(0));
  },
  abs: (value) => {
    const number = numeric(value);
    if (number === null) throw fail(`bad operand type for abs(): '${typeName(value)}'`);
    if (number instanceof Float) return new Float(Math.abs(number.value));
    return number < 0 ? small(-BigInt(number)) : number;
  },
  round: (value, args, named) => round(value, bind('round', ['precision', 'method'], args, named)),
};

/** Jinja's title: words are parted by spaces and `-([{<` only, unlike str.title. */
function titleFilter(value: string): string {
  return value
    .split(/([-\s({[<]+)/u)
    .map((part) => capitalize(part))
    .join('');
}

function indent(value: string, [width, first, blank]: readonly Value[]): string {
  const by = width === undefined ? '    ' : typeof width === 'string' ? width : ' '.repeat(index(width, 'width'));
  const lines = `${value}\n`.split('\n').slice(0, -1);
  const indented = lines.map((line, i) => {
    if (i === 0) return line;
    return line === '' && !isTrue(blank) ? line : by + line;
  });
  return sized((isTrue(first) ? by : '') + indented.join('\n'));
}

function urlEncode(value: Value): string {
  const quote = (part: Value, keep: string): string =>
    Array.from(new TextEncoder().encode(str(part)), (byte) => {
      const character = String.fromCharCode(byte);
      return /[\w.~-]/.test(character) || keep.includes(character)
        ? character
        : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    }).join('');
  if (typeof value === 'string' || !(isDict(value) || isList(value))) return quote(value, '/');
  const pairs = isDict(value) ? [...value] : value.map((pair) => iterate(pair));
  return pairs.map(([key, entry]) => `${quote(key, '')}=${quote(entry, '')}`).join('&');
}

function jsonOptions(args: readonly Value[], named: Named): JsonOptions {
  const [ensureAscii, indentation, separators, sortKeys] = bind(
    'tojson',
    ['ensure_ascii', 'indent', 'separators', 'sort_keys'],
    args,
    named,
  );
  const indented = indentation !== undefined && indentation !== null;
  const pair = separators === undefined || separators === null ? [] : iterate(separators);
  return {
    ensureAscii: isTrue(ensureAscii),
    indent: !indented ? null : typeof indentation === 'string' ? indentation : ' '.repeat(index(indentation, 'indent')),
    itemSeparator: pair[0] === undefined ? (indented ? ',' : ', ') : text(pair[0], 'separator'),
    keySeparator: pair[1] === undefined ? ': ' : text(pair[1], 'separator'),
    sortKeys: isTrue(sortKeys),
  };
}

function toInteger(value: Value, [fallback, base]: readonly Value[]): Value {
  const number = numeric(value);
  if (number instanceof Float) {
    return Number.isFinite(number.value) ? small(BigInt(Math.trunc(number.value))) : or(fallback, 0);
  }
  if (number !== null) return number;
  if (typeof value !== 'string') return or(fallback, 0);
  const digits = value.trim().replaceAll('_', '');
  const radix = base === undefined ? 10 : index(base, 'base');
  if (radix === 10 && /^[-+]?\d+$/.test(digits)) return small(BigInt(digits.replace('+', '')));
  if (radix !== 10) {
    const parsed = Number.parseInt(digits, radix);
    return Number.isNaN(parsed) ? or(fallback, 0) : parsed;
  }
  const parsed = toFloat(value);
  return parsed === null || !Number.isFinite(parsed.value) ? or(fallback, 0) : small(BigInt(Math.trunc(parsed.value)));
}

function toFloat(value: Value): Float | null {
  const number = numeric(value);
  if (number !== null) return new Float(floatOf(number));
  if (typeof value !== 'string' || !/^\s*[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$/.test(value)) return null;
  return new Float(Number(value.replaceAll('_', '')));
}

function round(value: Value, [precision, method]: readonly Value[]): Value {
  const number = numeric(value);
  if (number === null) throw fail(`type ${typeName(value)} cannot be rounded`);
  const places = index(or(precision, 0), 'precision');
  const how = text(or(method, 'common'), 'method');
  const scale = 10 ** places;
  const raw = floatOf(number);
  if (how === 'ceil') return new Float(Math.ceil(raw * scale) / scale);
  if (how === 'floor') return new Float(Math.floor(raw * scale) / scale);
  if (how !== 'common') throw fail('method must be common, ceil or floor');
  if (!(number instanceof Float)) return places >= 0 ? number : small(BigInt(halfEven(raw * scale) / scale));
  return new Float(places === 0 ? halfEven(raw) : roundTo(raw, places));
}

/** Python rounds halves to the even number. */
function halfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** By the shortest digits, which is what Python's exact rounding gives but for ties that no decimal shows. */
function roundTo(value: number, places: number): number {
  return places > 15 || places < 0 ? halfEven(value * 10 ** places) / 10 ** places : Number(value.toFixed(places));
}
