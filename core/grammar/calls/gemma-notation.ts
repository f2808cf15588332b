import { codePointsOf, without } from '../code-points.ts';
import { GrammarError } from '../error.ts';
import { freeText } from '../free-text.ts';
import { characterClass, quote, type RuleSet, repeat } from '../gbnf.ts';
import type { Notation } from '../json/notation.ts';
import { isObject } from '../json/shapes.ts';
import { regexGbnf } from '../regex/gbnf.ts';
import { compactValues } from './compact-values.ts';

const mark = '<|"|>';
/** Strings that are counted or matched go without this character of the mark, so that they cannot hold it. */
const markPart = codePointsOf('|');
const bareKey = /^[A-Za-z_][\w.$-]*$/;

/** Gemma's values: JSON without white space, with strings between marks, which have no escapes, and bare names. */
export function gemmaNotation(rules: RuleSet): Notation {
  const text = rules.add(`${quote(mark)} ${freeText(rules, [{ text: mark, after: '""' }], false)}`);
  const key = rules.add(`[A-Za-z_] [A-Za-z0-9_]{0,63} | ${text}`);
  return {
    ...compactValues(rules, { text, key }),
    literal: (known, at) => quote(written(known, at)),
    string: (min, max) =>
      min === 0 && max === null ? text : `${quote(mark)} ${repeat('[^|]', min, max)} ${quote(mark)}`,
    matching: (regex, at) => `${quote(mark)} ${rules.add(regexGbnf(regex, rules, characterAt(at)))} ${quote(mark)}`,
    key: (name, at) => quote(writtenKey(name, at)),
  };
}

const characterAt =
  (at: string) =>
  (set: Parameters<typeof without>[0]): string => {
    const one = characterClass(without(set, markPart));
    if (one === null)
      throw new GrammarError(
        'unsupported',
        at,
        `The pattern at ${at} needs "|", which is not supported in this format of calls.`,
      );
    return one;
  };

function written(value: unknown, at: string): string {
  if (typeof value === 'string') return marked(value, at);
  if (Array.isArray(value)) return `[${value.map((item) => written(item, at)).join(',')}]`;
  if (!isObject(value)) return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([key, member]) => `${writtenKey(key, at)}:${written(member, at)}`)
    .join(',')}}`;
}

function writtenKey(name: string, at: string): string {
  return bareKey.test(name) ? name : marked(name, at);
}

function marked(text: string, at: string): string {
  if (text.includes(mark))
    throw new GrammarError(
      'unsupported',
      at,
      `A string at ${at} holds ${mark}, which ends strings in this format of calls.`,
    );
  return `${mark}${text}${mark}`;
}
