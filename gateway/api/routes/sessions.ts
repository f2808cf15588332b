import { StatorError } from '#lib/errors/errors.ts';
import { shownSession } from '../../agents/shown-session.ts';
import type { GatewayContext } from '../../context.ts';
import { type Exchange, sendJson } from '../../http/exchange.ts';
import type { RouteParams } from '../../http/route-table.ts';
import { pageAsked } from '../page.ts';

/** Sessions in a list unless the client says otherwise, and at most. */
const [usual, most] = [20, 100];

/** GET /v1/agents/sessions: what the caller's sessions have used, the one used last first. */
export async function listSessions(ctx: GatewayContext, exchange: Exchange): Promise<void> {
  const { limit } = pageAsked(exchange, { limit: usual, most });
  const { data, sessions } = await ctx.agents.sessions.list(ctx.access.tenants.caller().tenant, limit);
  sendJson(exchange, 200, JSON.stringify({ object: 'list', data: data.map(shownSession), sessions }));
}

/** GET /v1/agents/sessions/{id}: the same of one, by the name that its requests have. */
export async function getSession(ctx: GatewayContext, exchange: Exchange, { id = '' }: RouteParams): Promise<void> {
  const session = await ctx.agents.sessions.get(ctx.access.tenants.caller().tenant, id);
  if (session === null) throw StatorError.notFound('There is no account of such a session.', { field: 'id' });
  sendJson(exchange, 200, JSON.stringify(shownSession(session)));
}
