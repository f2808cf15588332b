import { GrammarError } from './error.ts';
import { freeText } from './free-text.ts';
import { oneOf, quote, type RuleSet } from './gbnf.ts';
import { Emitter } from './json/emitter.ts';
import { propertyOf } from './json/meet.ts';
import type { All, Expansion, ObjectShape } from './json/shapes.ts';

const close = '\n</parameter>\n';

/**
 * Arguments as Qwen3-Coder writes them: `<parameter=KEY>\nVALUE\n</parameter>\n` for each property of a schema, strings as
 * they are and anything else as JSON. Throws GrammarError.
 */
export function addQwenParameters(rules: RuleSet, schema: unknown): string {
  const emitter = new Emitter(schema, rules);
  const shapes = emitter.expander.all([{ schema, at: '#' }]);
  const objects = shapes === 'any' ? [] : shapes.filter((shape) => shape.type === 'object');
  const options = objects.map((shape) => parameters(shape, emitter)).filter((option) => option !== null);
  if (options.length === 0)
    throw new GrammarError('unsupported', '#', 'Parameters need a schema of an object with properties.');
  return oneOf(options);
}

/** The parameters of an object in the order of their names; null: a required one has no value. */
function parameters(shape: ObjectShape, emitter: Emitter): string | null {
  const out: string[] = [];
  for (const name of new Set([...shape.properties.keys(), ...shape.required])) {
    const value = parameterValue(propertyOf(shape, name), emitter);
    const required = shape.required.has(name);
    if (value === null && required) return null;
    if (value === null) continue;
    const parameter = `${quote(`<parameter=${name}>\n`)} ${value}`;
    out.push(required ? parameter : `(${parameter})?`);
  }
  return out.length === 0 ? '""' : out.join(' ');
}

/** A value up to the end of its parameter; null: there is none. */
function parameterValue(all: All, emitter: Emitter): string | null {
  const { rules } = emitter;
  const expansion = emitter.expander.all(all);
  const texts = plainTexts(expansion, all);
  const end = quote(close);
  if (texts !== null)
    return texts.length === 0
      ? freeText(rules, [{ text: close, after: '""' }], false)
      : `${oneOf(texts.map(quote))} ${end}`;
  const value = emitter.value(all);
  return value === null ? null : `${value} ${end}`;
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
