import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import { StatorError } from '#lib/errors/errors.ts';
import { headerWishes } from '../api/translate/header-wishes.ts';
import type { GatewayContext } from '../context.ts';
import { type Exchange, queryOf, sendError } from '../http/exchange.ts';
import { credentialsOf, factsOf, openExchange } from '../http/http-server.ts';
import type { Credentials } from '../tenants/tenants.ts';
import { RealtimeConnection } from './connection.ts';
import { dialectOf } from './dialect.ts';
import type { SessionOptions } from './session.ts';

const path = '/v1/realtime';
/** Pages cannot set headers: they send their key so. */
const keyProtocol = 'openai-insecure-api-key.';
const protocol = 'realtime';

/** Takes connections that ask to speak WebSocket. Who may not is told so by an HTTP status, before the protocol changes. */
export class RealtimeEdge {
  readonly #ctx: GatewayContext;
  readonly #server: WebSocketServer;
  #connections = 0;

  constructor(ctx: GatewayContext) {
    this.#ctx = ctx;
    this.#server = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      maxPayload: ctx.config.realtimeMaxMessageKib * 1024,
      perMessageDeflate: false,
      handleProtocols: (offered) => (offered.has(protocol) ? protocol : false),
    });
  }

  accepts({ method, url = '', headers }: IncomingMessage): boolean {
    const isWebSocket = /^websocket$/i.test(headers.upgrade ?? '');
    return this.#ctx.config.realtime && isWebSocket && method === 'GET' && url.split('?', 1)[0] === path;
  }

  handle(request: IncomingMessage, socket: Socket, head: Buffer): void {
    socket.on('error', () => socket.destroy());
    const response = new ServerResponse(request);
    const exchange = openExchange(request, response, Number(this.#ctx.config.overloadStatus), 'only');
    this.#admit(exchange).then(
      (options) => this.#open(request, socket, head, options),
      (thrown: unknown) => this.#refuse(exchange, socket, thrown),
    );
  }

  async #admit(exchange: Exchange): Promise<Omit<SessionOptions, 'outgoing' | 'onRunning'>> {
    const { config, draining, access } = this.#ctx;
    const { request, requestId } = exchange;
    if (draining.aborted) throw new StatorError('draining', 'The gateway is shutting down. Retry elsewhere.');
    checkOrigin(request, config.corsOrigins);
    if (this.#connections >= config.realtimeConnections) {
      const message = `The gateway has ${config.realtimeConnections} connections of this kind already.`;
      throw new StatorError('overloaded', message, { retryAfterMs: 1000 });
    }
    // Counted from here on, so that connections that are being checked cannot pass the limit together.
    this.#count(1);
    try {
      const credentials = credentialsIn(exchange);
      const facts = factsOf(exchange);
      const checkModel = (name: string): Promise<void> =>
        access.as(credentials, facts, () => void this.#ctx.catalog.resolve(name));
      const model = queryOf(exchange).get('model') ?? '';
      if (model === '') await access.as(credentials, facts, () => {});
      else await checkModel(model);
      const headers = headerWishes(request.rawHeaders);
      const dialect = dialectOf(request);
      this.#ctx.telemetry.log.debug({ request_id: requestId, model }, 'realtime connection');
      return { model, dialect, credentials, facts, headers, checkModel };
    } catch (thrown) {
      this.#count(-1);
      throw thrown;
    }
  }

  #open(
    request: IncomingMessage,
    socket: Socket,
    head: Buffer,
    options: Omit<SessionOptions, 'outgoing' | 'onRunning'>,
  ): void {
    let isOpen = false;
    // A handshake that fails is answered by the library, which closes the socket.
    socket.once('close', () => {
      if (!isOpen) this.#count(-1);
    });
    if (socket.destroyed) {
      this.#count(-1);
      return;
    }
    this.#server.handleUpgrade(request, socket, head, (client: WebSocket) => {
      isOpen = true;
      const connection = new RealtimeConnection(this.#ctx, client, socket, options);
      connection.start((reason) => {
        this.#count(-1);
        this.#ctx.realtime.closed.inc({ reason });
      });
    });
  }

  #refuse(exchange: Exchange, socket: Socket, thrown: unknown): void {
    const error = StatorError.from(thrown);
    this.#ctx.realtime.refused.inc({ code: error.code });
    if (error.code === 'internal') this.#ctx.telemetry.log.error({ err: error }, 'realtime connection failed');
    const { response } = exchange;
    response.shouldKeepAlive = false;
    response.assignSocket(socket);
    response.on('finish', () => socket.end());
    sendError(exchange, error);
  }

  #count(change: 1 | -1): void {
    this.#connections += change;
    this.#ctx.realtime.connections.set(this.#connections);
  }
}

/** Browsers name the page that asks; anything else may come from anywhere. */
function checkOrigin({ headers }: IncomingMessage, origins: readonly string[]): void {
  const { origin } = headers;
  if (origin === undefined || origins.includes('*') || origins.includes(origin)) return;
  throw new StatorError('permission_denied', 'Pages of this origin may not connect: see --cors-origins.');
}

/** Of headers as ever; of a page from among its subprotocols. */
function credentialsIn(exchange: Exchange): Credentials {
  const given = credentialsOf(exchange);
  if (given.authorization !== '' || given.apiKey !== '') return given;
  const offered = (exchange.request.headers['sec-websocket-protocol'] ?? '').split(',').map((one) => one.trim());
  const key = offered.find((one) => one.startsWith(keyProtocol))?.slice(keyProtocol.length) ?? '';
  return { authorization: '', apiKey: key };
}
