import { errorClasses } from '#lib/errors/codes.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { HttpHandler, HttpRequest, HttpResponse } from '#lib/rpc/server.ts';
import { exactJson, parseExactJson } from './exact-json.ts';

export interface RestAnswer {
  readonly status: number;
  readonly body: unknown;
}

export interface RestCall {
  /** Parts of the path that the route names, percent-decoded. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  /** Parsed JSON; undefined where the method has no body. */
  readonly body: unknown;
}

export interface RestRoute {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** For example `/workers/:id`. */
  readonly path: string;
  handle(call: RestCall): RestAnswer | Promise<RestAnswer>;
}

export interface RestOptions {
  readonly routes: readonly RestRoute[];
  readonly maxBodyBytes: number;
  /** Whether the Authorization header lets a caller in. */
  authorized(header: string | undefined): boolean;
}

/** Serves routes beside a gRPC port; what is none of them is left to the port's own pages. */
export function createRest(options: RestOptions): HttpHandler {
  const routes = options.routes.map((route) => ({ route, parts: route.path.split('/') }));
  return (request, response) => {
    const target = request.url ?? '/';
    if (!URL.canParse(target, 'http://router')) return false;
    const url = new URL(target, 'http://router');
    const parts = url.pathname.split('/');
    const matching = routes.filter((candidate) => matches(candidate.parts, parts));
    if (matching.length === 0) return false;
    const found = matching.find(({ route }) => route.method === request.method);
    const answered = async (): Promise<RestAnswer> => {
      if (!options.authorized(request.headers.authorization))
        throw new StatorError('unauthenticated', 'authorization: Bearer <internal token> is required');
      if (found === undefined) {
        const allowed = matching.map(({ route }) => route.method).join(', ');
        throw new StatorError('method_not_allowed', `${url.pathname} takes ${allowed}.`);
      }
      const { route } = found;
      const body = route.method === 'GET' || route.method === 'DELETE' ? undefined : await readBody(request, options);
      return route.handle({ params: paramsOf(found.parts, parts), query: url.searchParams, body });
    };
    void answered().then(
      (answer) => send(response, answer),
      (thrown: unknown) => send(response, errorAnswer(StatorError.from(thrown))),
    );
    return true;
  };
}

function matches(pattern: readonly string[], parts: readonly string[]): boolean {
  return (
    pattern.length === parts.length && pattern.every((part, index) => part.startsWith(':') || part === parts[index])
  );
}

function paramsOf(pattern: readonly string[], parts: readonly string[]): Record<string, string> {
  const params: Record<string, string> = {};
  for (const [index, part] of pattern.entries()) {
    if (part.startsWith(':')) params[part.slice(1)] = decoded(parts[index] ?? '');
  }
  return params;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw StatorError.invalid('path', 'The path holds an escape that is none.');
  }
}

async function readBody(request: HttpRequest, { maxBodyBytes }: RestOptions): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Giving up early must not destroy the connection: the answer goes over it.
  const body: AsyncIterable<Buffer> = request.iterator({ destroyOnReturn: false });
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > maxBodyBytes)
      throw new StatorError('payload_too_large', `A body has at most ${maxBodyBytes} bytes.`, {
        facts: { limit: maxBodyBytes },
      });
    chunks.push(chunk);
  }
  if (bytes === 0) return {};
  try {
    return parseExactJson(Buffer.concat(chunks).toString('utf8'));
  } catch (thrown) {
    throw StatorError.invalid('', `The body is no JSON: ${StatorError.from(thrown).message}.`);
  }
}

function errorAnswer(error: StatorError): RestAnswer {
  const { http } = errorClasses[error.code];
  const message = error.code === 'internal' ? 'The router had an internal error.' : error.message;
  const { code, field, facts, retryAfterMs } = error;
  return { status: http, body: { error: { code, message, field, details: facts, retry_after_ms: retryAfterMs } } };
}

function send(response: HttpResponse, { status, body }: RestAnswer): void {
  if (response.headersSent || response.destroyed) return;
  const text = `${exactJson(body)}\n`;
  // What is still to come of a body that was given up is not read: the connection cannot be used again.
  if (!response.req.complete && response.req.httpVersionMajor < 2) response.setHeader('connection', 'close');
  response.statusCode = status;
  response.setHeader('content-type', 'application/json; charset=utf-8');
  response.setHeader('content-length', Buffer.byteLength(text));
  response.end(text);
}
