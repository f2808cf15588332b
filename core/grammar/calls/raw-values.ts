import { convertText, convertUntyped, type JsonType } from '#core/parsing/schema-types.ts';
import { allCodePoints, type CodePoints, codePointsOf, intersect, without } from '../code-points.ts';
import { GrammarError } from '../error.ts';
import { freeText } from '../free-text.ts';
import { characterClass, oneOf, quote, type RuleSet, repeat } from '../gbnf.ts';
import { stringGbnf } from '../json/emit-string.ts';
import type { Emitter } from '../json/emitter.ts';
import type { All, Shape } from '../json/shapes.ts';
import { regexGbnf } from '../regex/gbnf.ts';

/** Where a value stands. */
export interface RawPlace {
  /** Ends the value. */
  readonly close: string;
  /** What follows `close`. */
  readonly after: string;
  /** The tag in `close`, which strings cannot hold. */
  readonly tag: string;
  /** Whether something beside the value tells that it is a string, so that it may look like anything. */
  readonly told: boolean;
  /** The types that the parser reads a value as where nothing tells, from the tool's schema. */
  readonly types: ReadonlySet<JsonType>;
  /** What it reads where the schema names no type. */
  readonly untyped: 'string' | 'json';
  /** Whether the parser takes a line break at an end of a value for layout. */
  readonly trims: boolean;
}

/** JSON types as models name them: whole numbers are numbers. */
export type Kind = 'string' | 'number' | 'boolean' | 'null' | 'object' | 'array';

export function kindOf(shape: Shape): Kind {
  if (shape.type !== 'literal') return shape.type;
  const { value } = shape;
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  return typeof value as Kind;
}

/**
 * Values of some shapes up to their end and past it: strings as they are, anything else as JSON. What the parser would
 * not read as the type that it is stays out; where nothing is left, it is refused. null: there is no such value.
 */
export function rawValues(shapes: readonly Shape[], all: All, emitter: Emitter, place: RawPlace): string | null {
  const at = all[0]?.at ?? '#';
  const end = quote(place.close + place.after);
  const options: string[] = [];
  const others = shapes.filter((shape) => {
    const kind = kindOf(shape);
    return kind !== 'string' && (place.told || isKnown(kind, place.types));
  });
  const first = firstCharacters(others, place);
  for (const shape of shapes) {
    if (shape.type === 'string') {
      const text = rawString(shape, emitter.rules, place, first);
      if (text !== null) options.push(text);
    } else if (shape.type === 'literal' && typeof shape.value === 'string') {
      if (isReadAs(shape.value, all, emitter, place)) options.push(`${quote(shape.value)} ${end}`);
    }
  }
  const json = others.length === 0 ? null : emitter.expression(others, at);
  if (json !== null) options.push(`${json} ${end}`);
  if (options.length === 0 && shapes.length > 0) {
    const message = `Values of ${at} cannot be told from other types in this format of calls.`;
    throw new GrammarError('unsupported', at, message);
  }
  return options.length === 0 ? null : oneOf(options);
}

/** The rules of texts, which every parameter shares. */
const rawTexts = new WeakMap<RuleSet, Map<string, string>>();

/** Any text up to the end. */
export function rawText(rules: RuleSet, { close, after, tag }: Pick<RawPlace, 'close' | 'after' | 'tag'>): string {
  const known = rawTexts.get(rules) ?? new Map<string, string>();
  rawTexts.set(rules, known);
  const key = JSON.stringify([close, after, tag]);
  const found = known.get(key);
  if (found !== undefined) return found;
  const elsewhere = tag === close ? [] : [{ text: tag, after: null }];
  const text = freeText(rules, [{ text: close, after: quote(after) }, ...elsewhere], false);
  known.set(key, text);
  return text;
}

function isKnown(kind: Kind, types: ReadonlySet<JsonType>): boolean {
  if (kind === 'number') return types.has('number') || types.has('integer');
  if (kind === 'object' || kind === 'array') return types.has('object') || types.has('array');
  return types.has(kind);
}

/** Whether the parser reads a string that the schema names as a value that the schema allows. */
function isReadAs(
  text: string,
  all: All,
  emitter: Emitter,
  { close, tag, told, types, untyped, trims }: RawPlace,
): boolean {
  if (text.includes(tag) || (text + close).indexOf(close) < text.length) return false;
  if (trims && /^\n|\n$/.test(text)) return false;
  if (told || isOnlyString(types) || (types.size === 0 && untyped === 'string')) return true;
  const json = types.size === 0 ? convertUntyped(text) : convertText(text, types);
  return emitter.expander.allows(all, JSON.parse(json));
}

function isOnlyString(types: ReadonlySet<JsonType>): boolean {
  return types.size === 1 && types.has('string');
}

/** What a string may begin with so that the parser reads it as one, or as another value that is allowed; null: anything. */
function firstCharacters(others: readonly Shape[], { told, types, untyped }: RawPlace): CodePoints | null {
  if (told || isOnlyString(types) || (types.size === 0 && untyped === 'string')) return null;
  const all = types.size === 0;
  const isOpen = (type: JsonType): boolean =>
    others.some((shape) =>
      type === 'number'
        ? shape.type === 'number' &&
          !shape.integer &&
          shape.min === null &&
          shape.max === null &&
          shape.multipleOf === null
        : shape.type === type,
    );
  let out = '';
  if ((all || types.has('number') || types.has('integer')) && !isOpen('number')) out += '-0123456789';
  if ((all || types.has('boolean')) && !isOpen('boolean')) out += 'tTfF';
  if ((all || types.has('null')) && !isOpen('null')) out += 'nN';
  if (all || types.has('object') || types.has('array')) out += '{[(';
  if (all) out += '"';
  // Readers skip white space: behind it could stand any of these.
  return out === ''
    ? null
    : without(
        allCodePoints,
        codePointsOf(
          `${out} \t\n\v\f\r\u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a`,
        ),
      );
}

type StringShape = Shape & { type: 'string' };

/** A string as it is. One that is counted or matched goes without the first character of tags, so that it cannot hold one. */
function rawString(
  shape: StringShape,
  rules: RuleSet,
  { close, after, tag, trims }: RawPlace,
  first: CodePoints | null,
): string | null {
  const { minLength, maxLength, patterns, format } = shape;
  const end = quote(close + after);
  if (minLength === 0 && maxLength === null && patterns.length === 0 && format === null) {
    const rest = rawText(rules, { close, after, tag });
    if (first === null) return rest;
    const begin = characterClass(without(first, codePointsOf(`${close[0]}${tag[0]}`)));
    return `(${begin} ${rest} | ${end})`;
  }
  const outside = codePointsOf(trims ? '<\n' : '<');
  const inside = without(allCodePoints, outside);
  const character = characterClass(inside) ?? '';
  const body = stringGbnf(shape, {
    string: (min, max) => {
      if (first === null || max === 0) return repeat(character, min, max);
      const begun = `${characterClass(intersect(first, inside))} ${repeat(character, Math.max(0, min - 1), max === null ? null : max - 1)}`;
      return min === 0 ? `(${begun})?` : begun;
    },
    matching: (regex, place) => {
      if (first !== null) {
        const message = `A pattern or format at ${place} beside other types is not supported in this format of calls.`;
        throw new GrammarError('unsupported', place, message);
      }
      return rules.add(regexGbnf(regex, rules, (set) => characterClass(without(set, outside)) ?? tagged(place)));
    },
  });
  return body === null ? null : `${body} ${end}`;
}

function tagged(at: string): never {
  throw new GrammarError(
    'unsupported',
    at,
    `The pattern at ${at} needs a character that is not supported in this format of calls.`,
  );
}
