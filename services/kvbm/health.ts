import type { HttpHandler } from '#lib/rpc/default-http.ts';
import type { KvbmContext } from './context.ts';
import { tierNames } from './names.ts';

/** Tiers that do not work now, and why. */
export function degradations({ lower }: Pick<KvbmContext, 'lower'>): Record<string, string> {
  return Object.fromEntries(
    lower.tiers.flatMap((tier) => {
      const reason = tier.degraded();
      return reason === null ? [] : [[tierNames[tier.tier], reason]];
    }),
  );
}

/** GET /health while serving: 200, and which tiers do not work. Everything else is the default's. */
export function healthHttp(context: KvbmContext): HttpHandler {
  return (req, res) => {
    const path = (req.url ?? '/').split('?', 1)[0];
    if (path !== '/health' || req.method !== 'GET' || context.stopping.aborted) return false;
    const degraded = degradations(context);
    const status = Object.keys(degraded).length === 0 ? 'serving' : 'degraded';
    const body = `${JSON.stringify({ status, degraded })}\n`;
    res.statusCode = 200;
    res.setHeader('content-type', 'application/json');
    res.setHeader('content-length', Buffer.byteLength(body));
    res.end(body);
    return true;
  };
}
