import { StatorError } from '#lib/errors/errors.ts';
import { shownSession } from '../../agents/shown-session.ts';
import type { GatewayContext } from '../../context.ts';
import { type Exchange, sendJson } from '../../http/exchange.ts';
import type { RouteParams } from '../../http/route-table.ts';
import { pageAsked } from '../page.ts';

/** Sessions in a list unless the client says otherwise, and at most. */
const [usual, most] = [20, 100];

/** GET /v1/agents/sessions: what the caller's sessions have used, at this gateway, the one used last first. */
export function listSessions(ctx: GatewayContext, exchange: Exchange): void {
  const { accounts, naming } = ctx.agents;
  const { limit } = pageAsked(exchange, { limit: usual, most });
  const { tenant } = ctx.access.tenants.caller();
  const data = accounts.list(tenant, limit).map((account) => shownSession(account, naming));
  sendJson(exchange, 200, JSON.stringify({ object: 'list', data, sessions: accounts.count(tenant) }));
}

/** GET /v1/agents/sessions/{id}: the same of one, by the name that its requests have. */
export function getSession(ctx: GatewayContext, exchange: Exchange, { id = '' }: RouteParams): void {
  const { accounts, naming } = ctx.agents;
  const account = accounts.get(ctx.access.tenants.caller().tenant, id);
  if (account === undefined) throw StatorError.notFound('There is no account of such a session.', { field: 'id' });
  sendJson(exchange, 200, JSON.stringify(shownSession(account, naming)));
}
