import { Float } from '../value.ts';
import { fail, isDict, isInteger, isList, iterate, keyOf, lengthOf, Tuple, typeName, type Value } from './value.ts';

type Number_ = number | bigint;

/** Longest string and longest list that an operator may make. */
const maxTextLength = 16_000_000;
const maxListLength = 1_000_000;

export function add(a: Value, b: Value): Value {
  if (typeof a === 'string' && typeof b === 'string') return sized(a + b);
  if (isList(a) && isList(b)) return sized([...a, ...b]);
  if (a instanceof Tuple && b instanceof Tuple) return new Tuple(sized([...a.items, ...b.items]));
  return arithmetic('+', a, b);
}

export function multiply(a: Value, b: Value): Value {
  const [sequence, times] = repeats(a) ? [a, b] : [b, a];
  if (!repeats(sequence) || !(isInteger(times) || typeof times === 'boolean')) return arithmetic('*', a, b);
  const count = Math.max(0, Number(times));
  const most = typeof sequence === 'string' ? maxTextLength : maxListLength;
  if (lengthOf(sequence) * count > most) throw fail('the result of * is too large');
  if (typeof sequence === 'string') return sequence.repeat(count);
  const items = Array.from({ length: count }, () => iterate(sequence)).flat();
  return sequence instanceof Tuple ? new Tuple(items) : items;
}

function repeats(value: Value): boolean {
  return typeof value === 'string' || isList(value) || value instanceof Tuple;
}

export function sized<T extends string | readonly Value[]>(value: T): T {
  if (value.length > (typeof value === 'string' ? maxTextLength : maxListLength)) throw fail('a value is too large');
  return value;
}

export function arithmetic(operator: string, a: Value, b: Value): Value {
  const [x, y] = [numeric(a), numeric(b)];
  if (x === null || y === null) {
    throw fail(`unsupported operand type(s) for ${operator}: '${typeName(a)}' and '${typeName(b)}'`);
  }
  if (x instanceof Float || y instanceof Float || operator === '/' || (operator === '**' && Number(y) < 0)) {
    return new Float(floatOperation(operator, floatOf(x), floatOf(y)));
  }
  return integerOperation(operator, x, y);
}

export function numeric(value: Value): Number_ | Float | null {
  if (typeof value === 'boolean') return value ? 1 : 0;
  return isInteger(value) || value instanceof Float ? value : null;
}

export function floatOf(value: Number_ | Float): number {
  return value instanceof Float ? value.value : Number(value);
}

function floatOperation(operator: string, a: number, b: number): number {
  if (b === 0 && (operator === '/' || operator === '//' || operator === '%')) throw fail('division by zero');
  switch (operator) {
    case '+':
      return a + b;
    case '-':
      return a - b;
    case '*':
      return a * b;
    case '/':
      return a / b;
    case '//':
      return Math.floor(a / b);
    case '%': {
      const rest = a % b;
      return rest !== 0 && rest < 0 !== b < 0 ? rest + b : rest;
    }
    default:
      if (a === 0 && b < 0) throw fail('0.0 cannot be raised to a negative power');
      return a ** b;
  }
}

function integerOperation(operator: string, a: Number_, b: Number_): Number_ {
  if ((operator === '//' || operator === '%') && Number(b) === 0) throw fail('integer division or modulo by zero');
  if (operator === '**' && Math.abs(Number(a)) > 1 && Number(b) > 4096) throw fail('the result of ** is too large');
  const [x, y] = [BigInt(a), BigInt(b)];
  if (typeof a === 'number' && typeof b === 'number' && operator !== '**') {
    const quick = floatOperation(operator, a, b);
    if (Number.isSafeInteger(quick)) return quick + 0;
  }
  return small(bigOperation(operator, x, y));
}

function bigOperation(operator: string, x: bigint, y: bigint): bigint {
  switch (operator) {
    case '+':
      return x + y;
    case '-':
      return x - y;
    case '*':
      return x * y;
    case '//':
      return (x - modulo(x, y)) / y;
    case '%':
      return modulo(x, y);
    default:
      return x ** y;
  }
}

function modulo(x: bigint, y: bigint): bigint {
  const rest = x % y;
  return rest !== 0n && rest < 0n !== y < 0n ? rest + y : rest;
}

export function small(value: bigint): Number_ {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

export function negate(value: Value): Value {
  const number = numeric(value);
  if (number === null) throw fail(`bad operand type for unary -: '${typeName(value)}'`);
  if (number instanceof Float) return new Float(-number.value);
  return typeof number === 'bigint' ? small(-number) : 0 - number;
}

/** `==`: numbers by value whatever their type, lists and dicts by content. */
export function equal(a: Value, b: Value): boolean {
  if (a === b) return true;
  const [x, y] = [numeric(a), numeric(b)];
  if (x !== null && y !== null) return floatOf(x) === floatOf(y);
  if (isList(a) && isList(b)) return sameItems(a, b);
  if (a instanceof Tuple && b instanceof Tuple) return sameItems(a.items, b.items);
  if (isDict(a) && isDict(b)) {
    return a.size === b.size && [...a].every(([key, value]) => b.has(key) && equal(value, b.get(key)));
  }
  return false;
}

function sameItems(a: readonly Value[], b: readonly Value[]): boolean {
  return a.length === b.length && a.every((item, i) => equal(item, b[i]));
}

/** Negative, zero or positive. Throws for values that Python cannot order. */
export function order(a: Value, b: Value, operator = '<'): number {
  const [x, y] = [numeric(a), numeric(b)];
  if (x !== null && y !== null) return floatOf(x) - floatOf(y);
  if (typeof a === 'string' && typeof b === 'string') return orderText(a, b);
  const [first, second] = [sequenceOf(a), sequenceOf(b)];
  if (first === null || second === null || isList(a) !== isList(b)) {
    throw fail(`'${operator}' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
  }
  for (const [i, item] of first.entries()) {
    if (i >= second.length) return 1;
    if (!equal(item, second[i])) return order(item, second[i], operator);
  }
  return first.length - second.length;
}

function sequenceOf(value: Value): readonly Value[] | null {
  if (isList(value)) return value;
  return value instanceof Tuple ? value.items : null;
}

/** By code points; JavaScript's own order is by UTF-16 units. */
function orderText(a: string, b: string): number {
  if (a === b) return 0;
  const [x, y] = [Array.from(a), Array.from(b)];
  for (const [i, character] of x.entries()) {
    const other = y[i];
    if (other === undefined) return 1;
    if (character !== other) return (character.codePointAt(0) ?? 0) - (other.codePointAt(0) ?? 0);
  }
  return -1;
}

function contains(container: Value, item: Value): boolean {
  if (typeof container === 'string') {
    if (typeof item === 'string') return container.includes(item);
    throw fail(`'in <string>' requires string as left operand, not ${typeName(item)}`);
  }
  if (isDict(container)) return container.has(keyOf(item));
  return iterate(container).some((candidate) => equal(candidate, item));
}

export function compare(operator: string, a: Value, b: Value): boolean {
  switch (operator) {
    case '==':
      return equal(a, b);
    case '!=':
      return !equal(a, b);
    case 'in':
      return contains(b, a);
    case 'not in':
      return !contains(b, a);
    case '<':
      return order(a, b, operator) < 0;
    case '<=':
      return order(a, b, operator) <= 0;
    case '>':
      return order(a, b, operator) > 0;
    default:
      return order(a, b, operator) >= 0;
  }
}

/** Python's slices of strings, lists and tuples. */
export function slice(value: Value, from: Value, to: Value, step: Value): Value {
  const items = typeof value === 'string' ? Array.from(value) : iterate(value);
  const stride = step === undefined || step === null ? 1 : Number(numeric(step));
  if (stride === 0) throw fail('slice step cannot be zero');
  const picked: Value[] = [];
  const [start, stop] = bounds(items.length, from, to, stride);
  for (let i = start; stride > 0 ? i < stop : i > stop; i += stride) picked.push(items[i]);
  if (typeof value === 'string') return picked.join('');
  return value instanceof Tuple ? new Tuple(picked) : picked;
}

function bounds(length: number, from: Value, to: Value, stride: number): [number, number] {
  const [low, high] = stride > 0 ? [0, length] : [-1, length - 1];
  const clamp = (value: Value, absent: number): number => {
    if (value === undefined || value === null) return absent;
    const number = numeric(value);
    if (number === null || number instanceof Float) throw fail('slice indices must be integers or None');
    const at = Number(number) < 0 ? Number(number) + length : Number(number);
    return Math.min(Math.max(at, low), high);
  };
  return stride > 0 ? [clamp(from, low), clamp(to, high)] : [clamp(from, high), clamp(to, low)];
}
