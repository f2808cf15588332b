import { parameterTypes } from '#core/parsing/schema-types.ts';
import { type Kind, kindOf, rawText, rawValues } from './calls/raw-values.ts';
import { GrammarError } from './error.ts';
import { oneOf, quote, type RuleSet, repeat } from './gbnf.ts';
import { checkCount } from './json/emit-object.ts';
import { Emitter } from './json/emitter.ts';
import { propertyOf } from './json/meet.ts';
import type { All, ObjectShape, Shape } from './json/shapes.ts';

/** How models write a parameter: a tag in front of its value and one behind, which strings cannot hold. */
export interface ParameterStyle {
  /** In front of the name. */
  readonly open: string;
  /** Behind it, for a value of a type. */
  readonly head: (kind: Kind) => string;
  readonly close: string;
  /** What follows the closing tag. */
  readonly after: string;
  /** The tag alone, where `close` is more. */
  readonly tag?: string;
  /** Whether the head tells strings from other types. */
  readonly told: boolean;
  /** What the parser reads a value as that the schema says nothing about. */
  readonly untyped: 'string' | 'json';
  /** Whether the parser takes a line break at an end of a value for layout, which it is not here. */
  readonly trims?: true;
  /** Whether names are written as in XML. */
  readonly escapes?: true;
}

const dsml = '｜DSML｜';
const kinds: readonly Kind[] = ['string', 'number', 'boolean', 'null', 'object', 'array'];

/** Kimi K3's, which tells every type. */
export const kimiParameters: ParameterStyle = {
  open: '<|open|>argument key="',
  head: (kind) => `" type="${kind}"<|sep|>`,
  close: '<|close|>argument<|sep|>',
  after: '',
  told: true,
  untyped: 'string',
  escapes: true,
};

/** By their names in XGrammar. */
export const parameterStyles: ReadonlyMap<string, ParameterStyle> = new Map<string, ParameterStyle>([
  [
    'qwen_xml',
    {
      open: '<parameter=',
      head: () => '>\n',
      close: '\n</parameter>',
      after: '\n',
      tag: '</parameter>',
      told: false,
      untyped: 'string',
    },
  ],
  [
    'minimax_xml',
    {
      open: '<parameter name="',
      head: () => '">',
      close: '</parameter>',
      after: '\n',
      trims: true,
      told: false,
      untyped: 'string',
    },
  ],
  [
    'glm_xml',
    {
      open: '<arg_key>',
      head: () => '</arg_key>\n<arg_value>',
      close: '</arg_value>',
      after: '\n',
      told: false,
      untyped: 'json',
    },
  ],
  [
    'deepseek_xml',
    {
      open: `<${dsml}parameter name="`,
      head: (kind) => `" string="${kind === 'string'}">`,
      close: `</${dsml}parameter>`,
      after: '\n',
      told: true,
      untyped: 'string',
    },
  ],
]);

/**
 * Arguments as tagged parameters, one for each property of a schema: strings as they are and anything else as JSON. Throws
 * GrammarError.
 */
export function addTaggedParameters(rules: RuleSet, schema: unknown, style: ParameterStyle): string {
  const writer = new ParameterWriter(schema, rules, style);
  const shapes = writer.emitter.expander.all([{ schema, at: '#' }]);
  const objects = shapes === 'any' ? [] : shapes.filter((shape) => shape.type === 'object');
  const options = objects.map((shape) => writer.parameters(shape)).filter((option) => option !== null);
  if (options.length === 0)
    throw new GrammarError('unsupported', '#', 'Parameters need a schema of an object with properties.');
  return oneOf(options);
}

class ParameterWriter {
  readonly emitter: Emitter;
  readonly #schema: unknown;
  readonly #style: ParameterStyle;

  constructor(schema: unknown, rules: RuleSet, style: ParameterStyle) {
    this.emitter = new Emitter(schema, rules);
    this.#schema = schema;
    this.#style = style;
  }

  /** The parameters of an object in the order of their names; null: a required one has no value. */
  parameters(shape: ObjectShape): string | null {
    const names = [...new Set([...shape.properties.keys(), ...shape.required])];
    if (names.length === 0) return this.#open(shape);
    const members: { expression: string; required: boolean }[] = [];
    for (const name of names) {
      const required = shape.required.has(name);
      const all = propertyOf(shape, name);
      const allowed = this.emitter.expander.allows(shape.names, name);
      const expression = allowed ? this.#parameter(quote(this.#written(name, shape.at)), name, all) : null;
      if (expression === null && required) return null;
      if (expression !== null) members.push({ expression, required });
    }
    checkCount(shape, members);
    return members.map(({ expression, required }) => (required ? `(${expression})` : `(${expression})?`)).join(' ');
  }

  /** Parameters that nobody named. */
  #open({ patterns, names, minProperties, maxProperties, additional, at }: ObjectShape): string | null {
    if (patterns.length > 0 || names.length > 0 || minProperties > 1) {
      const message = `Names that only a rule at ${at} describes are not supported in this format of calls.`;
      throw new GrammarError('unsupported', at, message);
    }
    const parameter = this.#parameter('[A-Za-z_] [A-Za-z0-9_-]{0,63}', '', additional ?? []);
    if (parameter === null) return minProperties > 0 ? null : '""';
    return repeat(this.emitter.rules.add(parameter), minProperties, maxProperties);
  }

  /** A parameter up to its end; null: it can have no value. */
  #parameter(written: string, name: string, all: All): string | null {
    const { rules, expander } = this.emitter;
    const { open, head, told, close, after, untyped, tag = close, trims = false } = this.#style;
    const expansion = expander.all(all);
    const types = parameterTypes({ name: '', parameters: this.#schema }, name);
    const options: string[] = [];
    for (const group of new Set(kinds.map(head))) {
      const isTold = told && head('string') === group;
      const begin = `${quote(open)} ${written} ${quote(group)}`;
      if (expansion === 'any') options.push(`${begin} ${this.#anyValue(group, isTold)}`);
      else {
        const shapes = expansion.filter((shape: Shape) => head(kindOf(shape)) === group);
        const value = rawValues(shapes, all, this.emitter, { close, after, tag, told, types, untyped, trims });
        if (value !== null) options.push(`${begin} ${value}`);
      }
    }
    return options.length === 0 ? null : rules.add(oneOf(options));
  }

  /** Any value of the types that a head stands for: any text where it tells nothing, which the parser reads as it can. */
  #anyValue(group: string, isString: boolean): string {
    const { rules, expander } = this.emitter;
    const { head, told, close, after, tag = close } = this.#style;
    if (!told || isString) return rawText(rules, { close, after, tag });
    const some = kinds.filter((kind) => head(kind) === group);
    const shapes = expander.all([{ schema: { type: some }, at: '#' }]);
    return `${shapes === 'any' ? '' : this.emitter.expression(shapes, '#')} ${quote(close + after)}`;
  }

  #written(name: string, at: string): string {
    const { escapes } = this.#style;
    const bad = escapes === true ? /\s+type\s*=|<\|sep\|>/.test(name) : /["<>\n]/.test(name);
    if (bad || name === '')
      throw new GrammarError(
        'unsupported',
        `${at}/properties`,
        `The name ${JSON.stringify(name)} at ${at} cannot be written in this format of calls.`,
      );
    return escapes === true ? name.replaceAll('&', '&amp;').replaceAll('"', '&quot;') : name;
  }
}
