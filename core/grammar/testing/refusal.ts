import { GrammarError } from '../error.ts';

/** What a compiler refuses a constraint with; throws if it takes it. */
export function refusal(compile: () => unknown): GrammarError {
  try {
    compile();
  } catch (error) {
    if (error instanceof GrammarError) return error;
    throw error;
  }
  throw new Error('it was taken');
}
