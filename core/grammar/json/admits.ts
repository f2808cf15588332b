import { matchesRegex } from '../regex/match.ts';
import { formatRegex } from './formats.ts';
import { propertyOf } from './meet.ts';
import { patternRegex } from './patterns.ts';
import {
  type All,
  type ArrayShape,
  isObject,
  type NumberShape,
  type ObjectShape,
  type Shape,
  type StringShape,
  sameJson,
} from './shapes.ts';

/** Tells whether schemas allow a value; what a shape's members are checked by. */
export type AllowsAll = (all: All, value: unknown) => boolean;

/** Whether a shape allows a value. */
export function admits(shape: Shape, value: unknown, allows: AllowsAll): boolean {
  switch (shape.type) {
    case 'literal':
      return sameJson(shape.value, value);
    case 'null':
      return value === null;
    case 'boolean':
      return typeof value === 'boolean';
    case 'number':
      return typeof value === 'number' && admitsNumber(shape, value);
    case 'string':
      return typeof value === 'string' && admitsString(shape, value);
    case 'array':
      return Array.isArray(value) && admitsArray(shape, value, allows);
    case 'object':
      return isObject(value) && admitsObject(shape, value, allows);
  }
}

function admitsNumber({ integer, min, max, multipleOf }: NumberShape, value: number): boolean {
  if (integer && !Number.isInteger(value)) return false;
  if (min !== null && (value < min.value || (min.exclusive && value === min.value))) return false;
  if (max !== null && (value > max.value || (max.exclusive && value === max.value))) return false;
  return multipleOf === null || Number.isInteger(value / multipleOf);
}

function admitsString({ minLength, maxLength, patterns, format, at }: StringShape, value: string): boolean {
  const length = [...value].length;
  if (length < minLength || (maxLength !== null && length > maxLength)) return false;
  if (!patterns.every((pattern) => matchesRegex(patternRegex(pattern, `${at}/pattern`), value))) return false;
  const regex = format === null ? null : formatRegex(format);
  return regex === null || matchesRegex(regex, value);
}

function admitsArray({ prefix, items, minItems, maxItems }: ArrayShape, value: readonly unknown[], allows: AllowsAll) {
  if (value.length < minItems || (maxItems !== null && value.length > maxItems)) return false;
  return value.every((item, index) => allows(prefix[index] ?? items ?? [], item));
}

function admitsObject(shape: ObjectShape, value: Readonly<Record<string, unknown>>, allows: AllowsAll): boolean {
  const names = Object.keys(value);
  if (names.length < shape.minProperties) return false;
  if (shape.maxProperties !== null && names.length > shape.maxProperties) return false;
  if (![...shape.required].every((name) => Object.hasOwn(value, name))) return false;
  return names.every((name) => allows(shape.names, name) && allows(propertyOf(shape, name), value[name]));
}
