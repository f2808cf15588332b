import type { Bound } from './decimals.ts';

/** A schema and where it stands, as a JSON pointer with `#` in front. */
export interface Place {
  readonly schema: unknown;
  readonly at: string;
}

/** Schemas that must all hold; none: anything is valid. */
export type All = readonly Place[];

/** Values of one JSON type that a schema allows. What a schema means is a list of these: a value of any of them is valid. */
export type Shape = LiteralShape | PlainShape | NumberShape | StringShape | ArrayShape | ObjectShape;

export interface LiteralShape {
  readonly type: 'literal';
  readonly value: unknown;
}

export interface PlainShape {
  readonly type: 'null' | 'boolean';
}

export interface NumberShape {
  readonly type: 'number';
  readonly integer: boolean;
  readonly min: Bound | null;
  readonly max: Bound | null;
  readonly multipleOf: number | null;
  readonly at: string;
}

export interface StringShape {
  readonly type: 'string';
  readonly minLength: number;
  readonly maxLength: number | null;
  /** Regular expressions that each must match some part. */
  readonly patterns: readonly string[];
  readonly format: string | null;
  readonly at: string;
}

export interface ArrayShape {
  readonly type: 'array';
  readonly prefix: readonly All[];
  /** Of the items after the prefix; null: nobody said. */
  readonly items: All | null;
  readonly minItems: number;
  readonly maxItems: number | null;
  readonly at: string;
}

export interface ObjectShape {
  readonly type: 'object';
  readonly properties: ReadonlyMap<string, All>;
  readonly required: ReadonlySet<string>;
  /** Of the properties that are not named; null: nobody said. */
  readonly additional: All | null;
  readonly patterns: readonly { readonly pattern: string; readonly of: All }[];
  readonly names: All;
  readonly minProperties: number;
  readonly maxProperties: number | null;
  readonly at: string;
}

/** What a schema allows; `any`: every value. */
export type Expansion = 'any' | readonly Shape[];

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Whether two JSON values are the same, whatever the order of properties. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, i) => sameJson(item, b[i]));
  if (!isObject(a) || !isObject(b)) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && sameJson(a[key], b[key]))
  );
}
