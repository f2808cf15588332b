import type { IncomingMessage, ServerResponse } from 'node:http';
import { StatorError } from '#lib/errors/errors.ts';
import { isLoopback, parseAddress } from '#lib/rpc/address.ts';
import { type RpcServer, startRpcServer } from '#lib/rpc/server.ts';
import { serverTls } from '#lib/service/security.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { GatewayConfig } from './config.ts';
import type { GatewayContext } from './context.ts';
import { HttpEdge } from './http/http-server.ts';

/** Serves REST with administration on a port of its own; null where the public port does. Throws `invalid_argument`. */
export async function startAdminPort(
  config: GatewayConfig,
  context: GatewayContext,
  telemetry: Telemetry,
): Promise<RpcServer | null> {
  const { adminListen: listen, internalToken } = config;
  if (listen === undefined) return null;
  // Certificates say who a client is, not that it may administer.
  if (internalToken === undefined && !isLoopback(parseAddress(listen, 'adminListen').host)) {
    const message = `adminListen ${JSON.stringify(listen)} is reachable from other machines: set internalToken, or listen on 127.0.0.1`;
    throw StatorError.invalid('adminListen', message);
  }
  const edge = new HttpEdge(context, 'admin');
  const server = await startRpcServer({
    listen,
    services: [],
    routes: () => {},
    telemetry,
    http: (request, response) => edge.handle(request as IncomingMessage, response as ServerResponse),
    requireAuth: false,
    maxRequestBytes: config.bodyLimitMib * 1024 * 1024,
    ...serverTls(config),
  });
  telemetry.log.info({ address: server.address }, 'administration has a port of its own');
  return server;
}
