import { GrammarError } from '../error.ts';
import { oneOf, type RuleSet } from '../gbnf.ts';
import { type Bound, integersBetween, numbersBetween } from './decimals.ts';
import type { Emitter } from './emitter.ts';
import type { NumberShape } from './shapes.ts';

/** Largest whole number that is counted in by remainders: each is a rule. */
const maxDivisor = 256;

/** Numbers of a shape; null: there is none. */
export function numberGbnf(shape: NumberShape, { rules, notation }: Emitter): string | null {
  const { integer, min, max, multipleOf } = shape;
  const bounded = min !== null || max !== null;
  if (multipleOf !== null && !(integer && multipleOf === 1)) return multiples(shape, multipleOf, rules);
  if (!bounded) return integer ? notation.integer : notation.number;
  const body = integer ? integersBetween(lowest(min), highest(max)) : numbersBetween(min, max);
  return body === null ? null : rules.add(body);
}

function lowest(min: Bound | null): bigint | null {
  if (min === null) return null;
  const least = Math.ceil(min.value);
  return BigInt(least) + (min.exclusive && least === min.value ? 1n : 0n);
}

function highest(max: Bound | null): bigint | null {
  if (max === null) return null;
  const most = Math.floor(max.value);
  return BigInt(most) - (max.exclusive && most === max.value ? 1n : 0n);
}

/** Multiples of a whole number by remainders, of 0.1, 0.01, … by their digits after the point. */
function multiples({ integer, min, max, at }: NumberShape, multipleOf: number, rules: RuleSet): string {
  const refuse = (why: string): GrammarError =>
    new GrammarError('unsupported', `${at}/multipleOf`, `The keyword "multipleOf" at ${at} is not supported ${why}.`);
  if (min !== null || max !== null) throw refuse('together with bounds');
  if (Number.isInteger(multipleOf)) {
    if (multipleOf > maxDivisor) throw refuse(`above ${maxDivisor}`);
    return `"-"? ${divisible(multipleOf, rules)}`;
  }
  const places = /^0\.0*1$/.test(String(multipleOf)) ? String(multipleOf).length - 2 : 0;
  if (integer || places === 0) throw refuse(`for ${multipleOf}`);
  return rules.add(`"-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,${places}})?`);
}

/** Numerals without leading zeros of the multiples of `divisor`: one rule for each remainder of the digits so far. */
function divisible(divisor: number, rules: RuleSet): string {
  const names = Array.from({ length: divisor }, () => rules.reserve());
  for (const [remainder, name] of names.entries()) {
    const steps = digitSteps(remainder, divisor, names, 0);
    rules.define(name, [...steps, ...(remainder === 0 ? ['""'] : [])].join(' | '));
  }
  return oneOf(['"0"', ...digitSteps(0, divisor, names, 1)]);
}

function digitSteps(remainder: number, divisor: number, names: readonly string[], from: number): string[] {
  const steps: string[] = [];
  for (let digit = from; digit <= 9; digit++) {
    const next = names[(remainder * 10 + digit) % divisor];
    if (next !== undefined) steps.push(`"${digit}" ${next}`);
  }
  return steps;
}
