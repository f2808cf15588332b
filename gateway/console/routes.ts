import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../context.ts';
import { type Exchange, send, sendJson } from '../http/exchange.ts';
import type { RouteParams } from '../http/route-table.ts';
import { assetOf, pagePolicy } from './assets.ts';
import { consoleState } from './state.ts';

/** GET /console and what its page loads. It holds nothing of this deployment: that comes from /console/state. */
export async function consolePage(ctx: GatewayContext, exchange: Exchange, params: RouteParams): Promise<void> {
  const { asset: name = '' } = params;
  const asset = ctx.config.console ? await assetOf(name) : undefined;
  if (asset === undefined)
    throw StatorError.notFound(`Route not found: ${exchange.method} ${exchange.path.slice(0, 200)}`);
  const { response } = exchange;
  response.setHeader('content-security-policy', pagePolicy);
  response.setHeader('x-content-type-options', 'nosniff');
  response.setHeader('referrer-policy', 'no-referrer');
  response.setHeader('cache-control', 'no-cache');
  send(exchange, 200, asset.contentType, asset.body);
}

/** GET /console/state: topology, load, KV tiers and requests, for administrators. */
export async function consoleStateRoute(ctx: GatewayContext, exchange: Exchange): Promise<void> {
  if (!ctx.config.console) throw StatorError.notFound('Route not found: GET /console/state');
  exchange.response.setHeader('cache-control', 'no-store');
  sendJson(exchange, 200, JSON.stringify(await consoleState(ctx)));
}
