import type { GatewayContext } from '../context.ts';
import { type Caller, callOf, usedTokens, within } from '../tenants/caller.ts';

/**
 * Runs work that a caller left behind, within what they may now; throws `rate_limited` where limits are used up and
 * `unauthenticated` where their key is no longer in force.
 */
export async function onBehalf<T>(ctx: GatewayContext, left: Caller, work: () => Promise<T>): Promise<T> {
  const { limits } = ctx.access.tenants;
  const caller = ctx.access.tenants.renewed(left);
  const call = callOf(caller);
  const entry = await limits.enter(caller);
  try {
    return await within(call, work);
  } finally {
    entry.leave(usedTokens(call));
  }
}
