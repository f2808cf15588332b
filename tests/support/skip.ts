import type { Context } from 'mocha';

/** Why tests of this run were skipped; the runner prints each reason once. */
export const skipReasons = new Set<string>();

/** Skips the running test, or in a hook its whole suite, and says why. Never skip without a reason. */
export function skip(context: Context, reason: string): never {
  skipReasons.add(reason);
  return context.skip();
}
