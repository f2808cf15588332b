import { oneOf, quote } from '../gbnf.ts';

/** A bound of a number. */
export interface Bound {
  readonly value: number;
  readonly exclusive: boolean;
}

/** Digits of a whole part without an upper bound. */
const mostDigits = 16;
const moreDigits = '[0-9]{0,15}';
const anyFraction = '("." [0-9]{1,16})?';

/** Whole numbers from `min` to `max`, both included; null: without bound. null where there is none. */
export function integersBetween(min: bigint | null, max: bigint | null): string | null {
  const options: string[] = [];
  if (min === null || min < 0n) {
    const least = max === null || max >= -1n ? 1n : -max;
    const most = min === null ? null : -min;
    if (most === null || least <= most) options.push(`"-" ${naturals(least, most)}`);
  }
  if (max === null || max >= 0n) {
    const least = min === null || min < 0n ? 0n : min;
    if (max === null || least <= max) options.push(naturals(least, max));
  }
  return options.length === 0 ? null : oneOf(options);
}

/** Whole numbers that are not negative, written without leading zeros. */
function naturals(min: bigint, max: bigint | null): string {
  const options: string[] = [];
  const low = min.toString();
  const high = max === null ? null : max.toString();
  const longest = high === null ? Math.max(mostDigits, low.length) : high.length;
  for (let length = low.length; length <= longest; length++) {
    const from = length === low.length ? low : `1${'0'.repeat(length - 1)}`;
    const to = high !== null && length === high.length ? high : '9'.repeat(length);
    options.push(digitsBetween(from, to));
  }
  return oneOf(options);
}

/** Numerals of one length, from `low` to `high`. */
function digitsBetween(low: string, high: string): string {
  if (low === high) return quote(low);
  const [first = '0', last = '9'] = [low[0], high[0]];
  const rest = low.length - 1;
  if (rest === 0) return `[${first}-${last}]`;
  if (/^0*$/.test(low.slice(1)) && /^9*$/.test(high.slice(1))) return `[${first}-${last}] ${anyDigits(rest)}`;
  if (first === last) return `${quote(first)} ${digitsBetween(low.slice(1), high.slice(1))}`;
  const options = [`${quote(first)} ${digitsBetween(low.slice(1), '9'.repeat(rest))}`];
  const [next, before] = [Number(first) + 1, Number(last) - 1];
  if (next <= before) options.push(`[${next}-${before}] ${anyDigits(rest)}`);
  options.push(`${quote(last)} ${digitsBetween('0'.repeat(rest), high.slice(1))}`);
  return oneOf(options);
}

function anyDigits(count: number): string {
  return count === 1 ? '[0-9]' : `[0-9]{${count}}`;
}

/** Numbers within bounds, without exponents; null where there is none. */
export function numbersBetween(min: Bound | null, max: Bound | null): string | null {
  const options: string[] = [];
  if (min === null || min.value < 0) {
    const nearest: Bound =
      max !== null && max.value < 0 ? { ...max, value: -max.value } : { value: 0, exclusive: true };
    const negative = magnitudes(nearest, min === null ? null : { ...min, value: -min.value });
    if (negative !== null) options.push(`"-" ${negative}`);
  }
  if (max === null || max.value >= 0) {
    const nearest: Bound = min !== null && min.value >= 0 ? min : { value: 0, exclusive: false };
    const positive = magnitudes(nearest, max);
    if (positive !== null) options.push(positive);
  }
  return options.length === 0 ? null : oneOf(options);
}

interface Decimal {
  readonly whole: bigint;
  /** Digits after the point, without zeros at their end. */
  readonly fraction: string;
  readonly exclusive: boolean;
}

function decimal({ value, exclusive }: Bound): Decimal {
  const [whole = '0', fraction = ''] = plain(value).split('.');
  return { whole: BigInt(whole), fraction: fraction.replace(/0+$/, ''), exclusive };
}

/** The shortest numeral of a number, without an exponent. */
function plain(value: number): string {
  const text = String(value);
  const [digits = '0', exponent] = text.split('e');
  if (exponent === undefined) return text;
  const [whole = '0', fraction = ''] = digits.split('.');
  const shift = Number(exponent);
  const all = whole + fraction;
  if (shift < 0) return `0.${'0'.repeat(-shift - whole.length)}${all}`;
  return all.padEnd(whole.length + shift, '0');
}

/** Numbers that are not negative. */
function magnitudes(min: Bound, max: Bound | null): string | null {
  const low = decimal(min);
  if (max === null) {
    const above = `${naturals(low.whole + 1n, null)} ${anyFraction}`;
    const at = fractionsFrom(low.fraction, low.exclusive);
    return oneOf([`${quote(String(low.whole))} ${at}`, above]);
  }
  const high = decimal(max);
  if (high.whole < low.whole) return null;
  if (high.whole === low.whole) {
    const between = fractionsBetween(low, high);
    return between === null ? null : `${quote(String(low.whole))} ${between}`;
  }
  const options = [`${quote(String(low.whole))} ${fractionsFrom(low.fraction, low.exclusive)}`];
  if (high.whole - low.whole > 1n) options.push(`${naturals(low.whole + 1n, high.whole - 1n)} ${anyFraction}`);
  const last = fractionsTo(high.fraction, high.exclusive);
  if (last !== null) options.push(`${quote(String(high.whole))} ${last}`);
  return oneOf(options);
}

/** The point and digits of fractions that are at least `digits`; where that is nothing, or more than nothing. */
function fractionsFrom(digits: string, exclusive: boolean): string {
  if (digits === '') return exclusive ? `"." ${notZero}` : anyFraction;
  return `"." ${tailFrom(digits, exclusive)}`;
}

const notZero = `"0"{0,15} [1-9] ${moreDigits}`;

function tailFrom(digits: string, exclusive: boolean): string {
  const first = digits[0];
  if (first === undefined) return exclusive ? `(${notZero})` : moreDigits;
  const same = `${quote(first)} ${tailFrom(digits.slice(1), exclusive)}`;
  return first === '9' ? same : oneOf([same, `${digitRange(Number(first) + 1, 9)} ${moreDigits}`]);
}

/** Fractions that are at most `digits`; null: none. */
function fractionsTo(digits: string, exclusive: boolean): string | null {
  if (digits === '') return exclusive ? null : '("." "0"{1,16})?';
  return `("." ${tailTo(digits, exclusive)})?`;
}

function tailTo(digits: string, exclusive: boolean): string {
  const first = digits[0] ?? '0';
  const rest = digits.slice(1);
  const options: string[] = [];
  if (first !== '0') options.push(`${digitRange(0, Number(first) - 1)} ${moreDigits}`);
  if (rest !== '') options.push(`${quote(first)} (${tailTo(rest, exclusive)})?`);
  else if (!exclusive) options.push(`${quote(first)} "0"{0,15}`);
  return options.length === 0 ? quote('0') : oneOf(options);
}

/** Fractions between those of two bounds with the same whole part; null: none. */
function fractionsBetween(low: Decimal, high: Decimal): string | null {
  const exclusive = low.exclusive || high.exclusive;
  if (low.fraction === high.fraction) {
    if (exclusive) return null;
    return low.fraction === '' ? '("." "0"{1,16})?' : `"." ${quote(low.fraction)} "0"{0,15}`;
  }
  const length = Math.max(low.fraction.length, high.fraction.length);
  const from = low.fraction.padEnd(length, '0');
  const to = high.fraction.padEnd(length, '0');
  if (from > to) return null;
  const bounded = `"." ${tailBetween(from, to, low.exclusive, high.exclusive)}`;
  return low.fraction === '' && !low.exclusive ? `(${bounded})?` : bounded;
}

/** Of two numerals of the same length, the first smaller. */
function tailBetween(from: string, to: string, fromExclusive: boolean, toExclusive: boolean): string {
  const [low = '0', high = '0'] = [from[0], to[0]];
  const [lowRest, highRest] = [trimmed(from.slice(1)), trimmed(to.slice(1))];
  if (low === high) {
    const rest = tailBetween(from.slice(1), to.slice(1), fromExclusive, toExclusive);
    // Ending here means zeros, which the lower bound must allow.
    return lowRest === '' && !fromExclusive ? `${quote(low)} (${rest})?` : `${quote(low)} ${rest}`;
  }
  const options = [`${quote(low)} ${tailFrom(lowRest, fromExclusive)}`];
  if (Number(high) - Number(low) > 1) options.push(`${digitRange(Number(low) + 1, Number(high) - 1)} ${moreDigits}`);
  if (highRest !== '') options.push(`${quote(high)} (${tailTo(highRest, toExclusive)})?`);
  else if (!toExclusive) options.push(`${quote(high)} "0"{0,15}`);
  return oneOf(options);
}

function trimmed(digits: string): string {
  return digits.replace(/0+$/, '');
}

function digitRange(from: number, to: number): string {
  return from === to ? quote(String(from)) : `[${from}-${to}]`;
}
