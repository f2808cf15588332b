import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { Registry } from 'prom-client';
import type { HealthState } from './health.ts';

export type HttpRequest = IncomingMessage | Http2ServerRequest;
export type HttpResponse = ServerResponse | Http2ServerResponse;
/** Answers requests that are no RPC. Returning false leaves the request to the default handler. */
// biome-ignore lint/suspicious/noConfusingVoidType: handlers that answer everything return nothing
export type HttpHandler = (req: HttpRequest, res: HttpResponse) => boolean | void;

/**
 * GET /metrics (Prometheus), /health (200, or 503 while not serving), /live (200). Probes send no token; metrics name
 * models, tenants and addresses, and are for whoever `mayRead` lets in.
 */
export function defaultHttp(
  metrics: Registry,
  health: HealthState,
  mayRead: (authorization: string | undefined) => boolean,
): HttpHandler {
  return (req, res) => {
    const path = (req.url ?? '/').split('?', 1)[0];
    if (req.method !== 'GET' && req.method !== 'HEAD') answer(res, 405, 'text/plain', 'method not allowed\n');
    else if (path === '/metrics' && !mayRead(req.headers.authorization))
      answer(res, 401, 'text/plain', 'authorization: Bearer <internal token> is required\n');
    else if (path === '/metrics') void serveMetrics(metrics, res);
    else if (path === '/live') answer(res, 200, 'application/json', '{"status":"live"}\n');
    else if (path === '/health')
      answer(
        res,
        health.serving ? 200 : 503,
        'application/json',
        `{"status":"${health.serving ? 'serving' : 'not_serving'}"}\n`,
      );
    else answer(res, 404, 'text/plain', 'not found\n');
  };
}

async function serveMetrics(metrics: Registry, res: HttpResponse): Promise<void> {
  try {
    answer(res, 200, metrics.contentType, await metrics.metrics());
  } catch {
    answer(res, 500, 'text/plain', 'metrics could not be collected\n');
  }
}

function answer(res: HttpResponse, status: number, type: string, body: string): void {
  res.statusCode = status;
  res.setHeader('content-type', type);
  res.setHeader('content-length', Buffer.byteLength(body));
  res.end(body);
}
