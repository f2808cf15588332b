import { Input, type Step } from './input.ts';
import { isJsonNumber } from './json-scanner.ts';
import { Markers } from './markers.ts';
import { ended, later, nextUnit, readBefore, takeMarker, thisUnit, unitNow, type Write } from './read.ts';

const maxDepth = 64;
const maxWord = 400;
const [comma, colon, minus, plus, dot, underscore] = [44, 58, 45, 43, 46, 95];
const closers = new Map([
  [91, 93],
  [40, 41],
  [123, 125],
]);
const tripleQuotes = new Markers(['"""', "'''"]);
const words = new Map([
  ['True', 'true'],
  ['False', 'false'],
  ['None', 'null'],
  ['true', 'true'],
  ['false', 'false'],
  ['null', 'null'],
]);
const endOf = new Map(['"', "'", '"""', "'''"].map((quote) => [quote, new Markers([quote, '\\'])]));
const simpleEscapes: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  r: '\r',
  b: '\b',
  f: '\f',
  v: '\v',
  a: '\x07',
  '0': '\0',
  '\\': '\\',
  "'": "'",
  '"': '"',
  '\n': '',
};

/** Reads a Python literal and writes it as JSON, as it comes; false: malformed or cut off. */
export function* readLiteral(input: Input, write: Write, depth = 0): Step<boolean> {
  let unit = unitNow(input);
  if (unit === later) unit = yield* nextUnit(input);
  if (unit === 34 || unit === 39) return yield* readString(input, unit, write);
  const close = closers.get(unit);
  if (close !== undefined) {
    if (depth >= maxDepth) return false;
    input.at++;
    return unit === 123 ? yield* readDict(input, write, depth) : yield* readList(input, close, write, depth);
  }
  const word = yield* readWord(input);
  const json = words.get(word) ?? numberText(word);
  if (json === null) return false;
  write(json);
  return true;
}

function* readList(input: Input, close: number, write: Write, depth: number): Step<boolean> {
  write('[');
  for (let count = 0; ; count++) {
    let first = unitNow(input);
    if (first === later) first = yield* nextUnit(input);
    if (first === close) break;
    if (count > 0) write(',');
    if (!(yield* readLiteral(input, write, depth + 1))) return false;
    let unit = unitNow(input);
    if (unit === later) unit = yield* nextUnit(input);
    if (unit === comma) input.at++;
    else if (unit !== close) return false;
  }
  input.at++;
  write(']');
  return true;
}

function* readDict(input: Input, write: Write, depth: number): Step<boolean> {
  write('{');
  for (let count = 0; ; count++) {
    let unit = unitNow(input);
    if (unit === later) unit = yield* nextUnit(input);
    if (unit === 125) break;
    if (count > 0) write(',');
    if (!(yield* readKey(input, unit, write))) return false;
    if ((yield* nextUnit(input)) !== colon) return false;
    input.at++;
    write(':');
    if (!(yield* readLiteral(input, write, depth + 1))) return false;
    const after = yield* nextUnit(input);
    if (after === comma) input.at++;
    else if (after !== 125) return false;
  }
  input.at++;
  write('}');
  return true;
}

function* readKey(input: Input, unit: number, write: Write): Step<boolean> {
  if (unit === 34 || unit === 39) return yield* readString(input, unit, write);
  const word = yield* readWord(input);
  if (word === '') return false;
  write(JSON.stringify(words.get(word) ?? word));
  return true;
}

function* readString(input: Input, unit: number, write: Write): Step<boolean> {
  // Nearly no string is empty or in triple quotes, which the unit after the first tells.
  const plain = input.at + 1 < input.text.length && input.text.charCodeAt(input.at + 1) !== unit;
  const triple = plain ? -1 : yield* takeMarker(input, tripleQuotes);
  let quote = String.fromCharCode(unit);
  if (triple >= 0) quote = tripleQuotes.all[triple] ?? quote;
  else input.at++;
  const end = endOf.get(quote);
  if (end === undefined) return false;
  write('"');
  for (;;) {
    const index = yield* readBefore(input, end, (text) => write(inner(text)));
    if (index === ended) return false;
    if (index === 0) break;
    input.at++;
    const escaped = yield* readEscape(input);
    if (escaped === null) return false;
    write(inner(escaped));
  }
  input.at += quote.length;
  write('"');
  return true;
}

function* readEscape(input: Input): Step<string | null> {
  const unit = yield* thisUnit(input);
  if (unit === ended) return null;
  const letter = String.fromCodePoint(input.text.codePointAt(input.at) ?? unit);
  input.at += letter.length;
  const digits = letter === 'x' ? 2 : letter === 'u' ? 4 : letter === 'U' ? 8 : 0;
  if (digits === 0) return simpleEscapes[letter] ?? `\\${letter}`;
  let hex = '';
  while (hex.length < digits) {
    const digit = yield* thisUnit(input);
    if (digit === ended) return null;
    if (!isHex(digit)) break;
    hex += String.fromCharCode(digit);
    input.at++;
  }
  const code = Number.parseInt(hex, 16);
  return hex.length === digits && code <= 0x10ffff ? String.fromCodePoint(code) : `\\${letter}${hex}`;
}

/** Letters, digits and what numbers hold; bounded, as no number is longer. */
export function* readWord(input: Input): Step<string> {
  let word = '';
  for (;;) {
    const { text, at } = input;
    let to = at;
    while (to < text.length && word.length + to - at <= maxWord && inWord(text.charCodeAt(to))) to++;
    input.work += to - at + 1;
    word += text.slice(at, to);
    input.at = to;
    if (to < text.length || input.ended || word.length > maxWord) return word;
    yield;
  }
}

function numberText(word: string): string | null {
  const plain = word.replaceAll('_', '');
  if (isJsonNumber(plain)) return plain;
  const value = /^[-+]?[\d.]/.test(plain) ? Number(plain) : Number.NaN;
  return Number.isFinite(value) ? String(value) : null;
}

/** A whole Python literal as JSON; null where it is none. */
export function pythonToJson(text: string): string | null {
  const input = new Input();
  let json = '';
  const step = readLiteral(input, (piece) => {
    json += piece;
  });
  input.push(text);
  input.end();
  const { done, value } = step.next();
  return done === true && value === true && input.text.slice(input.at).trim() === '' ? json : null;
}

export function inner(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

function isHex(unit: number): boolean {
  return (unit >= 48 && unit <= 57) || (unit >= 97 && unit <= 102) || (unit >= 65 && unit <= 70);
}

function inWord(unit: number): boolean {
  return (
    (unit >= 48 && unit <= 57) ||
    (unit >= 97 && unit <= 122) ||
    (unit >= 65 && unit <= 90) ||
    unit === minus ||
    unit === plus ||
    unit === dot ||
    unit === underscore
  );
}
