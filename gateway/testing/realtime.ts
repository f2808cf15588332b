import { once } from 'node:events';
import { type ClientOptions, WebSocket } from 'ws';
import { startRpcServer, type TlsFiles } from '#lib/rpc/server.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import type { GatewayConfig } from '../config.ts';
import { HttpEdge } from '../http/http-server.ts';
import { RealtimeEdge } from '../realtime/edge.ts';
import { type Harness, startHarness } from './harness.ts';
import { ScriptedWorker } from './scripted-worker.ts';
import { until } from './until.ts';

export interface RealtimeEvent {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** A client that keeps what it was sent. */
export class RealtimeClient {
  readonly socket: WebSocket;
  readonly events: RealtimeEvent[] = [];
  close: { readonly code: number; readonly reason: string } | null = null;
  /** HTTP status that refused it; 0: none. */
  refused = 0;

  constructor(url: string, protocols: string[], options: ClientOptions) {
    this.socket = new WebSocket(url, protocols, options);
    this.socket.on('message', (data) => this.events.push(JSON.parse(String(data)) as RealtimeEvent));
    this.socket.on('close', (code, reason) => {
      this.close = { code, reason: reason.toString() };
    });
    this.socket.on('unexpected-response', (_request, response) => {
      this.refused = response.statusCode ?? 0;
      response.resume();
    });
    this.socket.on('error', () => {});
  }

  send(event: object | string): void {
    this.socket.send(typeof event === 'string' ? event : JSON.stringify(event));
  }

  say(text: string): void {
    const item = { type: 'message', role: 'user', content: [{ type: 'input_text', text }] };
    this.send({ type: 'conversation.item.create', item });
  }

  of(type: string): readonly RealtimeEvent[] {
    return this.events.filter((event) => event.type === type);
  }

  /** The event of this type with this number, from 0, once it is there. */
  async event(type: string, index = 0): Promise<RealtimeEvent> {
    await until(() => this.of(type)[index] !== undefined || this.close !== null);
    const found = this.of(type)[index];
    if (found === undefined) throw new Error(`no ${type}: ${JSON.stringify([this.close, this.events.slice(-3)])}`);
    return found;
  }

  async error(index = 0): Promise<Readonly<Record<string, unknown>>> {
    return (await this.event('error', index))['error'] as Readonly<Record<string, unknown>>;
  }

  async closed(): Promise<{ readonly code: number; readonly reason: string }> {
    await until(() => this.close !== null);
    return this.close ?? { code: 0, reason: '' };
  }
}

export interface RealtimeWorld {
  readonly gateway: Harness;
  readonly worker: ScriptedWorker;
  /** host:port of REST and WebSocket. */
  readonly address: string;
  connect(o?: { query?: string; protocols?: string[]; options?: ClientOptions }): Promise<RealtimeClient>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A gateway that takes connections, with one worker that follows the script; without one tests drive it. */
export async function realtimeWorld(
  config: Partial<GatewayConfig> = {},
  script: ScriptedWorker['script'] = null,
  tls?: TlsFiles,
): Promise<RealtimeWorld> {
  const gateway = await startHarness(config);
  const worker = new ScriptedWorker(script);
  gateway.addWorker(1n, worker);
  const edge = new HttpEdge(gateway.context);
  const server = await startRpcServer({
    listen: '127.0.0.1:0',
    services: [],
    routes: () => {},
    telemetry: quietTelemetry(),
    http: (request, response) => edge.handle(request as never, response as never),
    upgrades: new RealtimeEdge(gateway.context),
    tls,
  });
  const clients: RealtimeClient[] = [];
  return {
    gateway,
    worker,
    address: server.address,
    async connect({ query = '?model=test-model', protocols = [], options = {} } = {}) {
      const client = new RealtimeClient(`ws://${server.address}/v1/realtime${query}`, protocols, options);
      clients.push(client);
      await Promise.race([once(client.socket, 'open'), once(client.socket, 'unexpected-response')]);
      return client;
    },
    async [Symbol.asyncDispose]() {
      for (const { socket } of clients) socket.terminate();
      await server.stop(0);
      await gateway[Symbol.asyncDispose]();
    },
  };
}
