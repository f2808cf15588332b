import type { IncomingMessage, ServerResponse } from 'node:http';
import { errorClasses } from '#lib/errors/codes.ts';
import type { StatorError } from '#lib/errors/errors.ts';
import { renderAnthropicError, renderErrorBody } from './error-body.ts';

/** Which of a gateway's ports it is: the only one, or with administration on a port of its own the public or that one. */
export type EdgePort = 'only' | 'public' | 'admin';

/** One HTTP request and its answer. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly method: string;
  /** Path without query, percent-decoded. */
  readonly path: string;
  readonly requestId: string;
  readonly port: EdgePort;
  /** HTTP status of `overloaded`. */
  readonly overloadStatus: number;
  /** Aborted when the client is gone before the answer ended. */
  readonly signal: AbortSignal;
}

/** Sends a whole answer. */
export function send(exchange: Exchange, status: number, contentType: string, body: string | Buffer): void {
  const { response } = exchange;
  if (response.headersSent || response.destroyed) return;
  response.statusCode = status;
  response.setHeader('content-type', contentType);
  response.setHeader('content-length', Buffer.byteLength(body));
  response.end(exchange.method === 'HEAD' ? undefined : body);
}

export function sendJson(exchange: Exchange, status: number, body: string): void {
  send(exchange, status, 'application/json; charset=utf-8', body);
}

/** Sends a stream of events that is known already. */
export function sendEvents(exchange: Exchange, events: string): void {
  if (!exchange.response.headersSent) exchange.response.setHeader('cache-control', 'no-cache, no-transform');
  send(exchange, 200, 'text/event-stream; charset=utf-8', events);
}

export function sendError(exchange: Exchange, error: StatorError): void {
  const { response } = exchange;
  if (response.headersSent || response.destroyed) return;
  const http = error.code === 'overloaded' ? exchange.overloadStatus : errorClasses[error.code].http;
  if (error.retryAfterMs !== undefined)
    response.setHeader('retry-after', Math.max(1, Math.ceil(error.retryAfterMs / 1000)));
  else if (http === 503 || http === 429 || http === 529) response.setHeader('retry-after', 1);
  const body = isAnthropic(exchange) ? renderAnthropicError(error, exchange.requestId) : renderErrorBody(error);
  sendJson(exchange, http, body);
}

/** Whether the client expects Anthropic's shapes: by the path, or where paths are shared by the header of its version. */
export function isAnthropic({ path, request }: Exchange): boolean {
  if (path === '/v1/messages' || path.startsWith('/v1/messages/')) return true;
  const shared = path === '/v1/models' || path.startsWith('/v1/models/');
  return shared && request.headers['anthropic-version'] !== undefined;
}

/** The parameters after the path. */
export function queryOf({ request }: Exchange): URLSearchParams {
  const url = request.url ?? '';
  const start = url.indexOf('?');
  return new URLSearchParams(start < 0 ? '' : url.slice(start + 1).replace(/#.*$/s, ''));
}
