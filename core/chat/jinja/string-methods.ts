import { bind } from './arguments.ts';
import { aligned, formatBraces } from './format.ts';
import { sized } from './operators.ts';
import { capitalize, isSpace, splitSpace, stripEnd, stripStart, titleCase } from './python-string.ts';
import { codePoints, fail, index, iterate, type Named, Tuple, text, type Value } from './value.ts';

type Method = (self: string, args: readonly Value[], named: Named) => Value;

/** The methods of Python's str that templates may call. */
export const stringMethods: Readonly<Record<string, Method>> = {
  upper: (self) => self.toUpperCase(),
  lower: (self) => self.toLowerCase(),
  title: (self) => titleCase(self),
  capitalize: (self) => capitalize(self),
  casefold: (self) => self.replaceAll('ß', 'ss').toLowerCase(),
  swapcase: (self) => Array.from(self, (c) => (c === c.toUpperCase() ? c.toLowerCase() : c.toUpperCase())).join(''),
  strip: (self, args) => stripEnd(stripStart(self, characters(args)), characters(args)),
  lstrip: (self, args) => stripStart(self, characters(args)),
  rstrip: (self, args) => stripEnd(self, characters(args)),
  split: (self, args, named) => split(self, bind('split', ['sep', 'maxsplit'], args, named)),
  rsplit: (self, args, named) => splitRight(self, bind('rsplit', ['sep', 'maxsplit'], args, named)),
  splitlines: (self) => splitLines(self),
  partition: (self, [separator]) => partition(self, text(separator, 'separator'), self.indexOf(text(separator, ''))),
  rpartition: (self, [separator]) => partitionRight(self, text(separator, 'separator')),
  join: (self, [items]) =>
    sized(
      iterate(items)
        .map((item) => text(item, 'sequence item'))
        .join(self),
    ),
  replace: (self, args, named) => replace(self, ...bind('replace', ['old', 'new', 'count'], args, named)),
  startswith: (self, args) => affix(self, args, (part, affixed) => part.startsWith(affixed)),
  endswith: (self, args) => affix(self, args, (part, affixed) => part.endsWith(affixed)),
  removeprefix: (self, [prefix]) =>
    self.startsWith(text(prefix, 'prefix')) ? self.slice(text(prefix, '').length) : self,
  removesuffix: (self, [suffix]) =>
    text(suffix, 'suffix') !== '' && self.endsWith(text(suffix, '')) ? self.slice(0, -text(suffix, '').length) : self,
  find: (self, [part]) => position(self, self.indexOf(text(part, 'argument'))),
  rfind: (self, [part]) => position(self, self.lastIndexOf(text(part, 'argument'))),
  index: (self, [part]) => found(position(self, self.indexOf(text(part, 'argument')))),
  rindex: (self, [part]) => found(position(self, self.lastIndexOf(text(part, 'argument')))),
  count: (self, [part]) => occurrences(self, text(part, 'argument')),
  isdigit: (self) => every(self, /^[\p{Nd}\u00b2\u00b3\u00b9]$/u),
  isnumeric: (self) => every(self, /^\p{N}$/u),
  isdecimal: (self) => every(self, /^\p{Nd}$/u),
  isalpha: (self) => every(self, /^\p{L}$/u),
  isalnum: (self) => every(self, /^[\p{L}\p{N}]$/u),
  isspace: (self) => isSpace(self),
  isupper: (self) => self !== self.toLowerCase() && self === self.toUpperCase(),
  islower: (self) => self !== self.toUpperCase() && self === self.toLowerCase(),
  istitle: (self) => self !== '' && /\p{L}/u.test(self) && self === titleCase(self),
  zfill: (self, [width]) => zeroFill(self, index(width, 'width')),
  center: (self, [width, fill]) => aligned(self, index(width, 'width'), fillOf(fill), '^'),
  ljust: (self, [width, fill]) => aligned(self, index(width, 'width'), fillOf(fill), '<'),
  rjust: (self, [width, fill]) => aligned(self, index(width, 'width'), fillOf(fill), '>'),
  format: (self, args, named) => sized(formatBraces(self, args, named)),
};

function characters([value]: readonly Value[]): string | null {
  return value === undefined || value === null ? null : text(value, 'argument');
}

function fillOf(fill: Value): string {
  return fill === undefined ? ' ' : text(fill, 'fill');
}

/** Python's place of a character, which JavaScript counts in UTF-16 units. */
function position(self: string, at: number): number {
  return at < 0 ? -1 : codePoints(self.slice(0, at));
}

function found(at: number): number {
  if (at < 0) throw fail('substring not found');
  return at;
}

function every(self: string, pattern: RegExp): boolean {
  return self !== '' && Array.from(self).every((character) => pattern.test(character));
}

function split(self: string, [separator, limit]: readonly Value[]): Value {
  const most = limit === undefined ? -1 : index(limit, 'maxsplit');
  if (separator === undefined || separator === null) return splitSpace(self, most);
  const between = text(separator, 'separator');
  if (between === '') throw fail('empty separator');
  const parts = self.split(between);
  return most < 0 || parts.length <= most + 1 ? parts : [...parts.slice(0, most), parts.slice(most).join(between)];
}

function splitRight(self: string, [separator, limit]: readonly Value[]): Value {
  const most = limit === undefined ? -1 : index(limit, 'maxsplit');
  const spaced = separator === undefined || separator === null;
  const between = spaced ? ' ' : text(separator, 'separator');
  if (between === '') throw fail('empty separator');
  const parts = spaced ? splitSpace(self, -1) : self.split(between);
  if (most < 0 || parts.length <= most + 1) return parts;
  const last = parts.length - most;
  return [parts.slice(0, last).join(between), ...parts.slice(last)];
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: Python breaks lines at these too.
const lineBreak = /\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/;

function splitLines(self: string): Value {
  const lines = self.split(lineBreak);
  if (lines.at(-1) === '') lines.pop();
  return lines;
}

function partition(self: string, separator: string, at: number): Value {
  if (at < 0) return new Tuple([self, '', '']);
  return new Tuple([self.slice(0, at), separator, self.slice(at + separator.length)]);
}

function partitionRight(self: string, separator: string): Value {
  const at = self.lastIndexOf(separator);
  return at < 0 ? new Tuple(['', '', self]) : partition(self, separator, at);
}

export function replace(self: string, old?: Value, fresh?: Value, count?: Value): string {
  const [from, to] = [text(old, 'old'), text(fresh, 'new')];
  const most = count === undefined || count === null ? -1 : index(count, 'count');
  const parts = from === '' ? ['', ...Array.from(self), ''] : self.split(from);
  const replaced = most < 0 ? parts.length - 1 : Math.min(most, parts.length - 1);
  if (self.length + replaced * to.length > maxReplaced) throw fail('the result of replace is too large');
  return (
    parts.slice(0, replaced + 1).join(to) +
    parts
      .slice(replaced + 1)
      .map((part) => from + part)
      .join('')
  );
}

const maxReplaced = 16_000_000;

function affix(
  self: string,
  [wanted, start]: readonly Value[],
  test: (part: string, affix: string) => boolean,
): boolean {
  const part = start === undefined ? self : Array.from(self).slice(index(start, 'start')).join('');
  const options = wanted instanceof Tuple ? wanted.items : [wanted];
  return options.some((option) => test(part, text(option, 'argument')));
}

function occurrences(self: string, part: string): number {
  return part === '' ? codePoints(self) + 1 : self.split(part).length - 1;
}

function zeroFill(self: string, width: number): string {
  const sign = /^[-+]/.exec(self)?.[0] ?? '';
  return sign + aligned(self.slice(sign.length), width - sign.length, '0', '>');
}
