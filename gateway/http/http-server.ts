import type { IncomingMessage, ServerResponse } from 'node:http';
import { StatorError } from '#lib/errors/errors.ts';
import { listBusyThresholds, setBusyThresholds } from '../api/routes/busy-threshold.ts';
import { chatCompletions } from '../api/routes/chat-completions.ts';
import { completions } from '../api/routes/completions.ts';
import { docsPage, openApi } from '../api/routes/docs.ts';
import { embeddings } from '../api/routes/embeddings.ts';
import { health, live, metrics } from '../api/routes/health.ts';
import { getModel, listModels } from '../api/routes/models.ts';
import { inClientTerms } from '../api/translate/client-terms.ts';
import type { GatewayContext } from '../context.ts';
import type { Endpoint } from '../metrics/metrics.ts';
import { RequestRecord } from '../telemetry/request-record.ts';
import { requireAdmin } from './admin.ts';
import { readJsonBody } from './body.ts';
import { type Exchange, sendError } from './exchange.ts';
import { requestIdOf } from './request-id.ts';

type InferenceRoute = (ctx: GatewayContext, exchange: Exchange, record: RequestRecord, body: unknown) => Promise<void>;
type PlainRoute = (ctx: GatewayContext, exchange: Exchange) => void | Promise<void>;

const inferenceRoutes: ReadonlyMap<string, { endpoint: Endpoint; run: InferenceRoute }> = new Map([
  ['/v1/chat/completions', { endpoint: 'chat_completions', run: chatCompletions }],
  ['/v1/completions', { endpoint: 'completions', run: completions }],
  ['/v1/embeddings', { endpoint: 'embeddings', run: embeddings }],
]);

const plainRoutes: ReadonlyMap<string, PlainRoute> = new Map<string, PlainRoute>([
  ['/v1/models', listModels],
  ['/health', health],
  ['/live', live],
  ['/metrics', metrics],
  ['/openapi.json', openApi],
]);

/** Routes that change how the service works, by method. */
const adminRoutes: ReadonlyMap<string, Readonly<Record<string, PlainRoute>>> = new Map([
  ['/busy_threshold', { GET: listBusyThresholds, POST: setBusyThresholds }],
]);

const modelPrefix = '/v1/models/';
const docsPrefix = '/docs';

/** The REST edge: finds the route of a request and turns whatever it throws into an answer. Never throws. */
export class HttpEdge {
  readonly #ctx: GatewayContext;
  #running = 0;

  constructor(ctx: GatewayContext) {
    this.#ctx = ctx;
  }

  /** Inference requests that are being answered. */
  get running(): number {
    return this.#running;
  }

  readonly handle = (request: IncomingMessage, response: ServerResponse): void => {
    const exchange = openExchange(request, response, Number(this.#ctx.config.overloadStatus));
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
    const inference = inferenceRoutes.get(path);
    if (inference !== undefined) {
      requireMethod(exchange, ['POST']);
      await this.#infer(exchange, inference.endpoint, inference.run);
      return;
    }
    const plain = plainRoutes.get(path);
    if (plain !== undefined) {
      requireMethod(exchange, ['GET', 'HEAD']);
      await plain(this.#ctx, exchange);
      return;
    }
    const admin = this.#ctx.config.adminApi ? adminRoutes.get(path) : undefined;
    if (admin !== undefined) {
      requireMethod(exchange, Object.keys(admin));
      requireAdmin(this.#ctx.config, exchange.request);
      await admin[method]?.(this.#ctx, exchange);
      return;
    }
    if (path.startsWith(modelPrefix) && path.length > modelPrefix.length) {
      requireMethod(exchange, ['GET', 'HEAD']);
      getModel(this.#ctx, exchange, path.slice(modelPrefix.length));
      return;
    }
    if (path === docsPrefix || path.startsWith(`${docsPrefix}/`)) {
      requireMethod(exchange, ['GET', 'HEAD']);
      await docsPage(exchange, path.slice(docsPrefix.length));
      return;
    }
    throw StatorError.notFound(`Route not found: ${method} ${path.slice(0, 200)}`);
  }

  async #infer(exchange: Exchange, endpoint: Endpoint, run: InferenceRoute): Promise<void> {
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
    this.#running += 1;
    try {
      this.#admit();
      const body = await readJsonBody(exchange, ctx.config.bodyLimitMib * 1024 * 1024);
      await record.within(() => run(ctx, exchange, record, body));
    } catch (thrown) {
      // Whatever failed after the client left failed because it left.
      const reason: unknown = exchange.signal.aborted ? exchange.signal.reason : thrown;
      const error = inClientTerms(StatorError.from(reason));
      record.end(error);
      throw error;
    } finally {
      this.#running -= 1;
    }
  }

  #admit(): void {
    const { draining, config } = this.#ctx;
    if (draining.aborted) {
      throw new StatorError('draining', 'The gateway is shutting down. Retry elsewhere.', { retryAfterMs: 1000 });
    }
    if (this.#running <= config.maxRequests) return;
    throw new StatorError('overloaded', `The gateway answers ${config.maxRequests} requests already.`, {
      retryAfterMs: 1000,
    });
  }
}

function requireMethod(exchange: Exchange, allowed: readonly string[]): void {
  if (allowed.includes(exchange.method)) return;
  exchange.response.setHeader('allow', allowed.join(', '));
  const message = `${exchange.path} takes ${allowed.join(' or ')}, not ${exchange.method}`;
  throw new StatorError('method_not_allowed', message);
}

function openExchange(request: IncomingMessage, response: ServerResponse, overloadStatus: number): Exchange {
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
  return { request, response, method: request.method ?? 'GET', path, requestId, overloadStatus, signal };
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
