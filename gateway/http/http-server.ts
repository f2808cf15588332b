import type { IncomingMessage, ServerResponse } from 'node:http';
import { StatorError } from '#lib/errors/errors.ts';
import { routes } from '../api/routes.ts';
import { inClientTerms } from '../api/translate/client-terms.ts';
import type { GatewayContext } from '../context.ts';
import { RequestRecord } from '../telemetry/request-record.ts';
import type { RequestFacts } from '../tenants/access.ts';
import { within } from '../tenants/caller.ts';
import type { RateState } from '../tenants/limits.ts';
import type { Credentials } from '../tenants/tenants.ts';
import { requireAdmin } from './admin.ts';
import { readJsonBody } from './body.ts';
import { answerCors } from './cors.ts';
import { type EdgePort, type Exchange, sendError } from './exchange.ts';
import { requestIdOf } from './request-id.ts';
import { type InferenceRoute, type PathRoutes, type Route, type RouteMatch, RouteTable } from './route-table.ts';

const table = new RouteTable(routes);

/** The REST edge: finds the route of a request and turns whatever it throws into an answer. Never throws. */
export class HttpEdge {
  readonly #ctx: GatewayContext;
  readonly #port: EdgePort;

  constructor(ctx: GatewayContext, port: EdgePort = 'only') {
    this.#ctx = ctx;
    this.#port = port;
  }

  readonly handle = (request: IncomingMessage, response: ServerResponse): void => {
    const exchange = openExchange(request, response, Number(this.#ctx.config.overloadStatus), this.#port);
    this.#dispatch(exchange).catch((thrown: unknown) => {
      const error = StatorError.from(thrown);
      if (error.code === 'internal')
        this.#ctx.telemetry.log.error({ err: error, path: exchange.path }, 'request handler failed');
      sendError(exchange, error);
      if (!response.writableEnded) response.destroy();
    });
  };

  async #dispatch(exchange: Exchange): Promise<void> {
    const { method, path } = exchange;
    if (answerCors(exchange, this.#ctx.config.corsOrigins)) return;
    const found = this.#find(path);
    if (found === null) throw StatorError.notFound(`Route not found: ${method} ${path.slice(0, 200)}`);
    const route = routeOf(exchange, found);
    if (route.kind === 'inference') return this.#infer(exchange, route);
    const run = (): void | Promise<void> => route.run(this.#ctx, exchange, found.params);
    if (route.kind === 'plain') return this.#ctx.access.as(credentialsOf(exchange), factsOf(exchange), run);
    if (route.kind === 'open') return run();
    const check = (): void => requireAdmin(this.#ctx.config, exchange.request);
    return this.#ctx.access.administer(factsOf(exchange), check, run);
  }

  /** Administration is not there at all where it is switched off, or has a port of its own. */
  #find(path: string): RouteMatch | null {
    const found = table.find(path);
    if (found === null) return null;
    const offered: readonly Route[] = Object.values(found.routes);
    const isAdmin = offered.some(({ kind }) => kind === 'admin');
    if (isAdmin && !this.#ctx.config.adminApi) return null;
    const isElsewhere = isAdmin || offered.some((route) => route.kind !== 'inference' && route.forOperators === true);
    return isElsewhere && this.#port === 'public' ? null : found;
  }

  async #infer(exchange: Exchange, { endpoint, run }: InferenceRoute): Promise<void> {
    const ctx = this.#ctx;
    const { method, path, requestId } = exchange;
    const { traceparent } = exchange.request.headers;
    const record = new RequestRecord(ctx, {
      endpoint,
      requestId,
      method,
      path,
      traceparent: typeof traceparent === 'string' ? traceparent : '',
    });
    let end: (thrown: unknown) => void = () => {};
    try {
      await ctx.running.run(async () => {
        const admission = await ctx.access.admit(credentialsOf(exchange), factsOf(exchange));
        end = admission.end;
        tellRates(exchange, admission.rates);
        const body = await readJsonBody(
          exchange,
          ctx.config.bodyLimitMib * 1024 * 1024,
          ctx.config.bodyTimeoutSeconds * 1000,
        );
        await within(admission.call, () => record.within(() => run(ctx, exchange, record, body)));
      });
    } catch (thrown) {
      // Whatever failed after the client left failed because it left.
      const reason: unknown = exchange.signal.aborted ? exchange.signal.reason : thrown;
      const error = inClientTerms(StatorError.from(reason));
      record.end(error);
      throw error;
    } finally {
      end(record.failure);
    }
  }
}

/** What the path does with the method; HEAD is a GET whose body is not sent. */
function routeOf({ method, path, response }: Exchange, { routes: offered }: RouteMatch): Route {
  const name = method === 'HEAD' ? 'GET' : method;
  const route = Object.hasOwn(offered, name) ? offered[name as keyof PathRoutes] : undefined;
  if (route !== undefined) return route;
  const allowed = Object.keys(offered).flatMap((one) => (one === 'GET' ? ['GET', 'HEAD'] : [one]));
  response.setHeader('allow', allowed.join(', '));
  throw new StatorError('method_not_allowed', `${path} takes ${allowed.join(' or ')}, not ${method}`);
}

export function credentialsOf({ request }: Exchange): Credentials {
  const apiKey = request.headers['x-api-key'];
  return { authorization: request.headers.authorization ?? '', apiKey: typeof apiKey === 'string' ? apiKey : '' };
}

export function factsOf({ request, requestId, method, path }: Exchange): RequestFacts {
  return { requestId, method, path, remoteAddress: request.socket.remoteAddress ?? '' };
}

/** What is left of a caller's limits, in the headers that OpenAI's clients know. */
function tellRates({ response }: Exchange, rates: RateState): void {
  for (const kind of ['requests', 'tokens'] as const) {
    const state = rates[kind];
    if (state === null) continue;
    response.setHeader(`x-ratelimit-limit-${kind}`, state.limit);
    response.setHeader(`x-ratelimit-remaining-${kind}`, state.remaining);
    response.setHeader(`x-ratelimit-reset-${kind}`, `${(state.resetMs / 1000).toFixed(3)}s`);
  }
}

export function openExchange(
  request: IncomingMessage,
  response: ServerResponse,
  overloadStatus: number,
  port: EdgePort,
): Exchange {
  const requestId = requestIdOf(request);
  response.setHeader('x-request-id', requestId);
  const controller = new AbortController();
  response.on('close', () => {
    if (response.writableFinished || response.writableEnded) return;
    controller.abort(new StatorError('cancelled', 'The client closed the connection.'));
  });
  // A socket that breaks is a client that left; `close` follows.
  response.on('error', () => {});
  request.on('error', () => {});
  request.socket?.setNoDelay?.(true);
  const path = pathOf(request.url ?? '/');
  const { signal } = controller;
  return { request, response, method: request.method ?? 'GET', path, requestId, overloadStatus, port, signal };
}

function pathOf(url: string): string {
  const end = url.search(/[?#]/);
  const raw = end < 0 ? url : url.slice(0, end);
  try {
    return decodeURIComponent(raw);
  } catch {
    return raw;
  }
}
