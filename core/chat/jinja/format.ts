import { Float } from '../value.ts';
import { floatOf, numeric } from './operators.ts';
import { repr, str } from './print.ts';
import { fail, isDict, lengthOf, type Named, Tuple, type Value } from './value.ts';

/** Widest field that a format may ask for. */
const maxWidth = 100_000;

const percent = /%(?:\(([^)]*)\))?([-+ #0]*)(\d*)(?:\.(\d+))?([a-zA-Z%])/g;

/** `format % values`, as far as templates use it. */
export function formatPercent(format: string, values: Value): string {
  const list = values instanceof Tuple ? values.items : [values];
  let used = 0;
  const result = format.replace(percent, (_, key, flags, width, precision, kind) => {
    if (kind === '%') return '%';
    const value = key !== undefined && isDict(values) ? values.get(key) : list[used++];
    if (key === undefined && used > list.length) throw fail('not enough arguments for format string');
    return pad(convert(kind, value, precision === undefined ? null : Number(precision), flags), Number(width), flags);
  });
  if (used < list.length && !isDict(values)) throw fail('not all arguments converted during string formatting');
  return result;
}

function convert(kind: string, value: Value, precision: number | null, flags: string): string {
  const sign = (number: number): string => (number >= 0 && flags.includes('+') ? '+' : '');
  switch (kind) {
    case 's':
      return str(value).slice(0, precision ?? undefined);
    case 'r':
      return repr(value);
    case 'd':
    case 'i': {
      const number = Math.trunc(number_(value));
      return sign(number) + String(number);
    }
    case 'x':
      return number_(value).toString(16);
    case 'X':
      return number_(value).toString(16).toUpperCase();
    case 'o':
      return number_(value).toString(8);
    case 'f':
    case 'F': {
      const number = number_(value);
      return sign(number) + number.toFixed(Math.min(precision ?? 6, 100));
    }
    default:
      throw fail(`unsupported format character '${kind}'`);
  }
}

function number_(value: Value): number {
  const number = numeric(value);
  if (number === null) throw fail('%d format: a number is required');
  return floatOf(number);
}

function pad(text: string, width: number, flags: string): string {
  if (width > maxWidth) throw fail('a format field is too wide');
  if (flags.includes('-')) return text.padEnd(width);
  if (!flags.includes('0')) return text.padStart(width);
  const sign = /^[-+]/.exec(text)?.[0] ?? '';
  return sign + text.slice(sign.length).padStart(width - sign.length, '0');
}

const braces = /\{\{|\}\}|\{([^{}:!]*)(?:!([rs]))?(?::([^{}]*))?\}/g;
const specification = /^(?:(.)?([<>^=]))?([-+ ]?)(0?)(\d*)(,?)(?:\.(\d+))?([a-z%]?)$/u;

/** str.format with plain fields: `{}`, `{0}`, `{name}`, a width, an alignment, a precision. */
export function formatBraces(format: string, args: readonly Value[], named: Named): string {
  let next = 0;
  return format.replace(braces, (all, field, conversion, spec) => {
    if (all === '{{') return '{';
    if (all === '}}') return '}';
    const value = field === '' ? args[next++] : /^\d+$/.test(field) ? args[Number(field)] : named.get(field);
    if (value === undefined) throw fail(`format() has no value for '{${field}}'`);
    return formatField(conversion === 'r' ? repr(value) : value, spec ?? '');
  });
}

function formatField(value: Value, spec: string): string {
  if (spec === '') return str(value);
  const match = specification.exec(spec);
  if (match === null) throw fail(`Invalid format specifier '${spec}'`);
  const [, fill = ' ', align, sign = '', zero, width, comma, precision, kind] = match;
  const number = numeric(value);
  let text = number === null ? str(value).slice(0, precision === undefined ? undefined : Number(precision)) : '';
  if (number !== null) text = formatNumber(number, kind ?? '', precision, comma === ',');
  if (number !== null && sign === '+' && floatOf(number) >= 0) text = `+${text}`;
  const wanted = Number(width ?? 0);
  if (wanted > maxWidth) throw fail('a format field is too wide');
  if (zero === '0' && align === undefined) return pad(text, wanted, '0');
  return aligned(text, wanted, fill, align ?? (number === null ? '<' : '>'));
}

function formatNumber(
  value: number | bigint | Float,
  kind: string,
  precision: string | undefined,
  comma: boolean,
): string {
  let text: string;
  if (kind === 'f' || kind === '%') {
    text = (floatOf(value) * (kind === '%' ? 100 : 1)).toFixed(Number(precision ?? 6));
  } else if (kind === 'x') text = value.toString(16);
  else
    text = str(
      value instanceof Float && precision !== undefined
        ? new Float(Number(value.value.toPrecision(Number(precision))))
        : value,
    );
  if (comma) text = text.replace(/\B(?=(\d{3})+(?!\d))/g, ',');
  return kind === '%' ? `${text}%` : text;
}

export function aligned(text: string, width: number, fill: string, align: string): string {
  if (width > maxWidth) throw fail('a width is too large');
  const missing = width - lengthOf(text);
  if (missing <= 0) return text;
  if (align === '<') return text + fill.repeat(missing);
  if (align === '>') return fill.repeat(missing) + text;
  const left = Math.floor(missing / 2) + (missing % 2 === 1 && width % 2 === 1 ? 1 : 0);
  return fill.repeat(left) + text + fill.repeat(missing - left);
}
