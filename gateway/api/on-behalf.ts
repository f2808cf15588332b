import type { GatewayContext } from '../context.ts';
import { type Caller, callOf, usedTokens, within } from '../tenants/caller.ts';

/** Runs work that a caller left behind, within its limits; throws `rate_limited` where they are used up. */
export async function onBehalf<T>(ctx: GatewayContext, caller: Caller, work: () => Promise<T>): Promise<T> {
  const { limits } = ctx.access.tenants;
  const call = callOf(caller);
  const entry = await limits.enter(caller);
  try {
    return await within(call, work);
  } finally {
    entry.leave(usedTokens(call));
  }
}
