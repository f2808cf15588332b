import { GrammarError } from '../error.ts';
import type { Regex } from '../regex/ast.ts';
import { searchRegex } from '../regex/parse.ts';

/** What text a schema's `pattern` matches; errors name where it stands. */
export function patternRegex(pattern: string, at: string): Regex {
  try {
    return searchRegex(pattern);
  } catch (error) {
    if (error instanceof GrammarError) throw new GrammarError(error.kind, at, `${error.message} (at ${at})`);
    throw error;
  }
}
