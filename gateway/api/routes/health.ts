import type { GatewayContext } from '../../context.ts';
import { isAdmin, requireAdmin } from '../../http/admin.ts';
import { type Exchange, send, sendJson } from '../../http/exchange.ts';

/**
 * GET /health: 200 while new requests are taken, with everything that is missing; 503 once draining. Where callers need
 * keys, models and addresses are for administrators; where these have a port of their own, only there.
 */
export function health(ctx: GatewayContext, exchange: Exchange): void {
  const degradations = ctx.degradations.current().map((kind) => ({ kind, message: ctx.degradations.describe(kind) }));
  const instances = ctx.workers.instances().map((instance) => ({
    instance_id: instance.instanceId.toString(),
    namespace: instance.namespace,
    address: instance.address,
    session: ctx.workers.isAlive(instance.instanceId) ? 'ready' : 'connecting',
    models: instance.cards.map((card) => card.name),
    degraded: instance.degraded,
  }));
  const models = ctx.catalog.entries().map((entry) => ({ id: entry.name, ready: ctx.catalog.isReady(entry) }));
  const draining = ctx.draining.aborted;
  let status = degradations.length === 0 ? 'healthy' : 'degraded';
  if (draining) status = 'not_ready';
  const stage = draining ? { stage: 'draining' } : {};
  const isForAll = !ctx.access.tenants.required || isAdmin(ctx.config, exchange.request);
  const isShort = exchange.port === 'public' || !isForAll;
  const body = { status, ...stage, degradations, ...(isShort ? {} : { models, instances }) };
  sendJson(exchange, draining ? 503 : 200, JSON.stringify(body));
}

/** GET /live: the process runs. */
export function live(_ctx: GatewayContext, exchange: Exchange): void {
  sendJson(exchange, 200, JSON.stringify({ status: 'live' }));
}

/** GET /metrics: Prometheus text. For administrators where callers need keys: labels name models and workers. */
export async function metrics(ctx: GatewayContext, exchange: Exchange): Promise<void> {
  if (ctx.access.tenants.required) requireAdmin(ctx.config, exchange.request);
  const registry = ctx.telemetry.metrics;
  send(exchange, 200, registry.contentType, await registry.metrics());
}
