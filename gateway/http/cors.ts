import type { Exchange } from './exchange.ts';

const methods = 'GET, POST, DELETE, OPTIONS';
/** Answers that a page may read besides the usual ones. */
const exposed = 'x-request-id, retry-after';
const maxAgeSeconds = 600;

/**
 * Lets pages of these origins call, `*` any. Returns whether the exchange was a preflight, which is answered then. No
 * credentials are allowed: keys travel in a header that the page sets itself, never in cookies.
 */
export function answerCors(exchange: Exchange, origins: readonly string[]): boolean {
  const { request, response, method } = exchange;
  const { origin } = request.headers;
  if (origins.length === 0 || origin === undefined) return false;
  response.setHeader('vary', 'origin');
  const isAllowed = origins.includes('*') || origins.includes(origin);
  if (isAllowed) {
    response.setHeader('access-control-allow-origin', origins.includes('*') ? '*' : origin);
    response.setHeader('access-control-expose-headers', exposed);
  }
  const wanted = request.headers['access-control-request-method'];
  if (method !== 'OPTIONS' || wanted === undefined) return false;
  if (isAllowed) {
    response.setHeader('access-control-allow-methods', methods);
    const headers = request.headers['access-control-request-headers'];
    if (headers !== undefined && headers.length <= 1000)
      response.setHeader('access-control-allow-headers', headers.replace(/[^\w,\- ]/g, ''));
    response.setHeader('access-control-max-age', String(maxAgeSeconds));
  }
  response.statusCode = 204;
  response.end();
  return true;
}
