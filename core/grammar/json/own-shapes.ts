import { GrammarError } from '../error.ts';
import type { Bound } from './decimals.ts';
import { formatRegex } from './formats.ts';
import { pointerPart, typeKeywords } from './keywords.ts';
import { tighter } from './meet.ts';
import {
  type All,
  type ArrayShape,
  type Expansion,
  isObject,
  type NumberShape,
  type ObjectShape,
  type Shape,
  type StringShape,
} from './shapes.ts';

type Schema = Readonly<Record<string, unknown>>;

/** Sizes beyond it make grammars that engines refuse. */
const maxSize = 2000;
/** Most properties of one object, and most patterns of them: each property is tried with each. */
const maxMembers = { properties: 2000, patternProperties: 32 };

/** What the keywords about types allow by themselves. Without `type`, keywords about a type ask for that type. */
export function ownShapes(schema: Schema, at: string): Expansion {
  const types = typesOf(schema, at);
  if (types === null) return 'any';
  return types.map((type) => shapeOf(type, schema, at));
}

function typesOf(schema: Schema, at: string): readonly string[] | null {
  const { type } = schema;
  if (typeof type === 'string') return withNull([type], schema);
  if (Array.isArray(type) && type.length > 0) return withNull([...new Set(type.map(String))], schema);
  if (type !== undefined)
    throw new GrammarError('invalid', `${at}/type`, `The type at ${at} must be a name or a list of names.`);
  const implied = Object.entries(typeKeywords).filter(([, keywords]) => keywords.some((keyword) => keyword in schema));
  return implied.length === 0
    ? null
    : withNull(
        implied.map(([name]) => name),
        schema,
      );
}

/** OpenAPI 3.0 says "or null" this way. */
function withNull(types: readonly string[], schema: Schema): readonly string[] {
  return schema['nullable'] === true && !types.includes('null') ? [...types, 'null'] : types;
}

function shapeOf(type: string, schema: Schema, at: string): Shape {
  switch (type) {
    case 'null':
    case 'boolean':
      return { type };
    case 'integer':
    case 'number':
      return numberShape(schema, at, type === 'integer');
    case 'string':
      return stringShape(schema, at);
    case 'array':
      return arrayShape(schema, at);
    case 'object':
      return objectShape(schema, at);
    default:
      throw new GrammarError('invalid', `${at}/type`, `There is no type ${JSON.stringify(type)} (at ${at}).`);
  }
}

function numberShape(schema: Schema, at: string, integer: boolean): NumberShape {
  const bound = (keyword: string, exclusive: boolean): Bound | null => {
    const value = schema[keyword];
    if (value === undefined) return null;
    if (typeof value !== 'number')
      throw new GrammarError('invalid', `${at}/${keyword}`, `${keyword} at ${at} must be a number.`);
    return { value, exclusive };
  };
  const { multipleOf } = schema;
  if (multipleOf !== undefined && !(typeof multipleOf === 'number' && multipleOf > 0)) {
    throw new GrammarError('invalid', `${at}/multipleOf`, `multipleOf at ${at} must be a number above 0.`);
  }
  return {
    type: 'number',
    integer,
    min: tighter(bound('minimum', false), bound('exclusiveMinimum', true), 1),
    max: tighter(bound('maximum', false), bound('exclusiveMaximum', true), -1),
    multipleOf: multipleOf ?? null,
    at,
  };
}

function stringShape(schema: Schema, at: string): StringShape {
  const { pattern, format } = schema;
  if (pattern !== undefined && typeof pattern !== 'string')
    throw new GrammarError('invalid', `${at}/pattern`, `The pattern at ${at} must be text.`);
  if (format !== undefined && (typeof format !== 'string' || formatRegex(format) === null)) {
    throw new GrammarError(
      'unsupported',
      `${at}/format`,
      `The format ${JSON.stringify(format)} at ${at} is not supported.`,
    );
  }
  return {
    type: 'string',
    minLength: size(schema, 'minLength', at) ?? 0,
    maxLength: size(schema, 'maxLength', at),
    patterns: pattern === undefined ? [] : [pattern],
    format: format ?? null,
    at,
  };
}

function arrayShape(schema: Schema, at: string): ArrayShape {
  const { prefixItems, items, uniqueItems } = schema;
  const maxItems = size(schema, 'maxItems', at);
  if (uniqueItems === true && (maxItems === null || maxItems > 1)) {
    throw new GrammarError('unsupported', `${at}/uniqueItems`, `The keyword "uniqueItems" at ${at} is not supported.`);
  }
  if (prefixItems !== undefined && !Array.isArray(prefixItems)) {
    throw new GrammarError('invalid', `${at}/prefixItems`, `prefixItems at ${at} must be a list.`);
  }
  if (Array.isArray(items)) {
    throw new GrammarError(
      'unsupported',
      `${at}/items`,
      `A list of schemas as items at ${at} is not supported; use prefixItems.`,
    );
  }
  return {
    type: 'array',
    prefix: (prefixItems ?? []).map(
      (item: unknown, index): All => [{ schema: item, at: `${at}/prefixItems/${index}` }],
    ),
    items: items === undefined ? null : [{ schema: items, at: `${at}/items` }],
    minItems: size(schema, 'minItems', at) ?? 0,
    maxItems,
    at,
  };
}

function objectShape(schema: Schema, at: string): ObjectShape {
  const { required, additionalProperties: additional, propertyNames } = schema;
  if (required !== undefined && !(Array.isArray(required) && required.every((name) => typeof name === 'string'))) {
    throw new GrammarError('invalid', `${at}/required`, `required at ${at} must be a list of names.`);
  }
  const under = (keyword: keyof typeof maxMembers): [string, All][] => {
    const members = schema[keyword];
    if (members === undefined) return [];
    if (!isObject(members))
      throw new GrammarError('invalid', `${at}/${keyword}`, `${keyword} at ${at} must be an object.`);
    if (Object.keys(members).length > maxMembers[keyword]) {
      const path = `${at}/${keyword}`;
      throw new GrammarError('unsupported', path, `${path} has more than ${maxMembers[keyword]} members.`);
    }
    return Object.entries(members).map(([name, member]) => [
      name,
      [{ schema: member, at: `${at}/${keyword}/${pointerPart(name)}` }],
    ]);
  };
  return {
    type: 'object',
    properties: new Map(under('properties')),
    required: new Set(required),
    additional: additional === undefined ? null : [{ schema: additional, at: `${at}/additionalProperties` }],
    patterns: under('patternProperties').map(([pattern, of]) => ({ pattern, of })),
    names: propertyNames === undefined ? [] : [{ schema: propertyNames, at: `${at}/propertyNames` }],
    minProperties: size(schema, 'minProperties', at) ?? 0,
    maxProperties: size(schema, 'maxProperties', at),
    at,
  };
}

function size(schema: Schema, keyword: string, at: string): number | null {
  const value = schema[keyword];
  if (value === undefined) return null;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= maxSize) return value;
  throw new GrammarError(
    'invalid',
    `${at}/${keyword}`,
    `${keyword} at ${at} must be a whole number from 0 to ${maxSize}.`,
  );
}
