import { Float } from '../value.ts';
import { compare, numeric } from './operators.ts';
import { Callable, fail, isDict, isInteger, isIterable, isList, Range, Tuple, type Value } from './value.ts';

type Test = (value: Value, args: readonly Value[]) => boolean;

const compares =
  (operator: string): Test =>
  (value, [other]) =>
    compare(operator, value, other);

function remainder(value: Value, by: Value): number {
  const [a, b] = [numeric(value), numeric(by)];
  if (a === null || b === null || a instanceof Float || b instanceof Float) throw fail('a test needs an integer');
  if (Number(b) === 0) throw fail('integer modulo by zero');
  return Number(BigInt(a) % BigInt(b));
}

/** Jinja's tests by name. */
export const tests: Readonly<Record<string, Test>> = {
  defined: (value) => value !== undefined,
  undefined: (value) => value === undefined,
  none: (value) => value === null,
  true: (value) => value === true,
  false: (value) => value === false,
  boolean: (value) => typeof value === 'boolean',
  integer: (value) => isInteger(value),
  float: (value) => value instanceof Float,
  number: (value) => numeric(value) !== null,
  string: (value) => typeof value === 'string',
  mapping: (value) => isDict(value),
  sequence: (value) =>
    typeof value === 'string' ||
    isList(value) ||
    isDict(value) ||
    value instanceof Tuple ||
    value === undefined ||
    value instanceof Range,
  iterable: (value) => isIterable(value),
  callable: (value) => value instanceof Callable,
  odd: (value) => Math.abs(remainder(value, 2)) === 1,
  even: (value) => remainder(value, 2) === 0,
  divisibleby: (value, [by]) => remainder(value, by) === 0,
  lower: (value) => typeof value === 'string' && value !== value.toUpperCase() && value === value.toLowerCase(),
  upper: (value) => typeof value === 'string' && value !== value.toLowerCase() && value === value.toUpperCase(),
  sameas: (value, [other]) => value === other,
  escaped: () => false,
  filter: (value) => typeof value === 'string' && filterNames.has(value),
  test: (value) => typeof value === 'string' && Object.hasOwn(tests, value),
  in: (value, [container]) => compare('in', value, container),
  eq: compares('=='),
  equalto: compares('=='),
  '==': compares('=='),
  ne: compares('!='),
  '!=': compares('!='),
  lt: compares('<'),
  lessthan: compares('<'),
  '<': compares('<'),
  le: compares('<='),
  '<=': compares('<='),
  gt: compares('>'),
  greaterthan: compares('>'),
  '>': compares('>'),
  ge: compares('>='),
  '>=': compares('>='),
};

/** Filled by the filters, which need tests themselves. */
export const filterNames = new Set<string>();

export function testNamed(name: string): Test {
  const test = Object.hasOwn(tests, name) ? tests[name] : undefined;
  if (test === undefined) throw fail(`No test named '${name}'.`);
  return test;
}
