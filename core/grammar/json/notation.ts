import type { Regex } from '../regex/ast.ts';

/**
 * How values are written: JSON, or another language whose lists and objects stand in the same brackets. Members are
 * expressions of a grammar.
 */
export interface Notation {
  /** Optional white space, which follows marks, and values that something else follows. */
  readonly space: string;
  /** Any value at all. */
  readonly value: string;
  readonly integer: string;
  readonly number: string;
  readonly boolean: string;
  readonly null: string;
  /** A value that is known, as the schema at `at` names it. */
  readonly literal: (value: unknown, at: string) => string;
  /** Strings of `min` to `max` characters; null: without bound. */
  readonly string: (min: number, max: number | null) => string;
  /** Strings that an expression, which stands at `at`, matches. */
  readonly matching: (regex: Regex, at: string) => string;
  /** The name of a property. */
  readonly key: (name: string, at: string) => string;
  /** Any name of a property. */
  readonly anyKey: string;
}

/** How the members of an object are written. */
export interface MemberStyle extends Pick<Notation, 'string' | 'matching' | 'key' | 'anyKey'> {
  /** What stands between a name and its value, white space included. */
  readonly between: string;
}
