import Mocha, { type Context } from 'mocha';

/** Why tests of this run were skipped, by the full title of the test or suite; the runner prints them. */
export const skipReasons = new Map<string, string>();

/** Skips the running test, or in a hook its whole suite, and says why. Never skip without a reason. */
export function skip(context: Context, reason: string): never {
  const { test } = context;
  const skipped = test instanceof Mocha.Hook ? test.parent : test;
  skipReasons.set(skipped?.fullTitle() ?? '', reason);
  return context.skip();
}
