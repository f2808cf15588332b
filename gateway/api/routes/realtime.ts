import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../../context.ts';
import { renderErrorBody } from '../../http/error-body.ts';
import { type Exchange, sendJson } from '../../http/exchange.ts';

const upgradeRequired = 426;

/** GET /v1/realtime without a change of protocol; gateway/realtime takes the others. */
export function realtime({ config }: GatewayContext, exchange: Exchange): void {
  if (!config.realtime) throw StatorError.notFound('Route not found: GET /v1/realtime');
  // HTTP/2 knows no such header.
  if (exchange.request.httpVersionMajor < 2) exchange.response.setHeader('upgrade', 'websocket');
  const message = '/v1/realtime speaks WebSocket over HTTP/1.1: send `Upgrade: websocket`';
  sendJson(exchange, upgradeRequired, renderErrorBody(StatorError.invalid('upgrade', message)));
}
