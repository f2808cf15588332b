import { GrammarError } from './error.ts';
import { freeText } from './free-text.ts';
import { oneOf, quote, type RuleSet } from './gbnf.ts';
import { Emitter } from './json/emitter.ts';
import { propertyOf } from './json/meet.ts';
import type { All, Expansion, ObjectShape } from './json/shapes.ts';

/** How models write a parameter: a tag in front of its value and one behind, which strings cannot hold. */
interface ParameterStyle {
  readonly open: (key: string, text: boolean) => string;
  readonly close: string;
  /** What follows the closing tag. */
  readonly after: string;
}

const dsml = '｜DSML｜';

/** By their names in XGrammar. */
export const parameterStyles: ReadonlyMap<string, ParameterStyle> = new Map([
  ['qwen_xml', { open: (key: string) => `<parameter=${key}>\n`, close: '\n</parameter>\n', after: '' }],
  ['minimax_xml', { open: (key: string) => `<parameter name="${key}">`, close: '</parameter>', after: '\n' }],
  ['glm_xml', { open: (key: string) => `<arg_key>${key}</arg_key>\n<arg_value>`, close: '</arg_value>', after: '\n' }],
  [
    'deepseek_xml',
    {
      open: (key: string, text: boolean) => `<${dsml}parameter name="${key}" string="${text}">`,
      close: `</${dsml}parameter>`,
      after: '\n',
    },
  ],
]);

/**
 * Arguments as tagged parameters, one for each property of a schema: strings as they are and anything else as JSON. Throws
 * GrammarError.
 */
export function addTaggedParameters(rules: RuleSet, schema: unknown, style: ParameterStyle): string {
  const emitter = new Emitter(schema, rules);
  const shapes = emitter.expander.all([{ schema, at: '#' }]);
  const objects = shapes === 'any' ? [] : shapes.filter((shape) => shape.type === 'object');
  const options = objects.map((shape) => parameters(shape, emitter, style)).filter((option) => option !== null);
  if (options.length === 0)
    throw new GrammarError('unsupported', '#', 'Parameters need a schema of an object with properties.');
  return oneOf(options);
}

/** The parameters of an object in the order of their names; null: a required one has no value. */
function parameters(shape: ObjectShape, emitter: Emitter, style: ParameterStyle): string | null {
  const out: string[] = [];
  for (const name of new Set([...shape.properties.keys(), ...shape.required])) {
    const parameter = parameterNamed(name, propertyOf(shape, name), emitter, style);
    const required = shape.required.has(name);
    if (parameter === null && required) return null;
    if (parameter === null) continue;
    out.push(required ? parameter : `(${parameter})?`);
  }
  return out.length === 0 ? '""' : out.join(' ');
}

/** A parameter up to its end; null: it can have no value. */
function parameterNamed(
  name: string,
  all: All,
  emitter: Emitter,
  { open, close, after }: ParameterStyle,
): string | null {
  const { rules } = emitter;
  if (/["<>\n]/.test(name)) {
    const at = all[0]?.at ?? '#';
    throw new GrammarError('unsupported', at, `The name of ${at} cannot be written in this format of calls.`);
  }
  const texts = plainTexts(emitter.expander.all(all), all);
  const begin = quote(open(name, texts !== null));
  const end = quote(close + after);
  if (texts?.length === 0) return `${begin} ${freeText(rules, [{ text: close, after: quote(after) }], false)}`;
  const value = texts === null ? emitter.value(all) : oneOf(texts.map(quote));
  return value === null ? null : `${begin} ${value} ${end}`;
}

/** Strings that a schema names, none where it allows any; null: it allows other types too. */
function plainTexts(expansion: Expansion, all: All): string[] | null {
  if (expansion === 'any' || expansion.length === 0) return null;
  const texts: string[] = [];
  for (const shape of expansion) {
    if (shape.type === 'literal' && typeof shape.value === 'string') texts.push(shape.value);
    else if (shape.type !== 'string') return null;
    else if (shape.patterns.length > 0 || shape.format !== null || shape.minLength > 0 || shape.maxLength !== null) {
      const at = all[0]?.at ?? '#';
      throw new GrammarError(
        'unsupported',
        at,
        `Strings at ${at} cannot be kept to a pattern, format or length in this format of calls.`,
      );
    } else return [];
  }
  return texts;
}
