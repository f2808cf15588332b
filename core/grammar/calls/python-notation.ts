import { allCodePoints, codePoints, codePointsOf, hasCodePoint, union, without } from '../code-points.ts';
import { GrammarError } from '../error.ts';
import { characterClass, oneOf, quote, type RuleSet, repeat } from '../gbnf.ts';
import type { Notation } from '../json/notation.ts';
import { numeral, wholeNumeral } from '../json/rules.ts';
import { isObject } from '../json/shapes.ts';
import { type CharacterStyle, regexGbnf } from '../regex/gbnf.ts';

const quotes = ['"', "'"] as const;
const controls = codePoints([
  [0, 0x1f],
  [0x7f, 0x7f],
]);
/** `\/` means a stroke in JSON alone, and Python makes no pairs of surrogates. */
const escapes = '"\\\\" (["\'\\\\nrt] | "u" ([0-9a-cefA-CEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2}))';

/** Python's literals, strings in either quotes. */
export function pythonNotation(rules: RuleSet): Notation {
  const space = rules.add('" "?');
  const characters = quotes.map((mark) => rules.add(`${classWithout(mark)} | ${escapes}`));
  const either = (content: (index: number) => string): string =>
    rules.add(oneOf(quotes.map((mark, index) => `${quote(mark)} ${content(index)} ${quote(mark)}`)));
  const string = (min: number, max: number | null): string =>
    either((index) => repeat(characters[index] ?? '', min, max));
  const integer = rules.add(wholeNumeral);
  const number = rules.add(numeral);
  const text = string(0, null);
  const value = rules.reserve();
  const pair = rules.add(`${text} ":" ${space} ${value}`);
  const dict = rules.add(`"{" (${pair} ("," ${space} ${pair})*)? "}"`);
  const list = rules.add(`"[" (${value} ("," ${space} ${value})*)? "]"`);
  rules.define(value, `${dict} | ${list} | ${text} | ${number} | "True" | "False" | "None"`);
  return {
    space,
    value,
    integer,
    number,
    boolean: '("True" | "False")',
    null: '"None"',
    literal,
    string,
    matching: (regex, at) => either((index) => regexGbnf(regex, rules, characterIn(quotes[index] ?? '"', at))),
    key: literal,
    anyKey: text,
  };
}

function classWithout(mark: string): string {
  return characterClass(without(allCodePoints, union([controls, codePointsOf(`${mark}\\`)]))) ?? '';
}

const shortEscapes = new Map([
  [0x5c, '\\\\'],
  [0x0a, '\\n'],
  [0x0d, '\\r'],
  [0x09, '\\t'],
]);

function characterIn(mark: string, at: string): CharacterStyle {
  return (set) => {
    const raw = characterClass(without(set, union([controls, codePointsOf(`${mark}\\`)])));
    const options = raw === null ? [] : [raw];
    for (let code = 0; code <= 0x7f; code++) {
      const escaped = escapeOf(code, mark);
      if (escaped !== null && hasCodePoint(set, code)) options.push(quote(escaped));
    }
    if (options.length === 0)
      throw new GrammarError('invalid', at, `The pattern at ${at} has a set without characters.`);
    return oneOf(options);
  };
}

function escapeOf(code: number, mark: string): string | null {
  if (code === mark.charCodeAt(0)) return `\\${mark}`;
  const short = shortEscapes.get(code);
  if (short !== undefined) return short;
  return code < 0x20 || code === 0x7f ? `\\x${code.toString(16).padStart(2, '0')}` : null;
}

/** A value that is known; a string that needs no escapes in either quotes. */
function literal(value: unknown): string {
  const text = python(value);
  const plain = typeof value === 'string' && text === `"${value}"` && !value.includes("'");
  return plain ? oneOf([quote(text), quote(`'${value}'`)]) : quote(text);
}

function python(value: unknown): string {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (Array.isArray(value)) return `[${value.map(python).join(', ')}]`;
  if (!isObject(value)) return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([key, member]) => `${JSON.stringify(key)}: ${python(member)}`)
    .join(', ')}}`;
}
