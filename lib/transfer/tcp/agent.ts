import { randomBytes } from 'node:crypto';
import net from 'node:net';
import tls from 'node:tls';
import { StatorError } from '#lib/errors/errors.ts';
import { readTlsMaterial, type TlsFiles } from '#lib/rpc/tls.ts';
import { watchTlsFiles } from '#lib/rpc/tls-watch.ts';
import { Ledger, orAborted } from '../ledger.ts';
import { endpointField, openMetadata, sealMetadata } from '../metadata.ts';
import { type OwnRegion, RegionTable, SLOTS } from '../regions.ts';
import {
  type AgentOptions,
  defaultTimeoutMs,
  type Peer,
  type Region,
  type TransferAgent,
  type TransferBackend,
  type TransferCounters,
  type TransferOptions,
} from '../transfer.ts';
import { type Inbox, TcpPeer } from './peer.ts';
import { Served } from './served.ts';

const TOKEN_BYTES = 32;
/** Stays in a core's cache on its way to where it belongs. */
const READ_BYTES = 256 * 1024;
/** `takeBackMs` unless it is set. */
const defaultTakeBackMs = 1000;

export interface TcpAgentOptions extends AgentOptions {
  /** Address to listen on and to tell peers; default 127.0.0.1. A path makes it a Unix socket. */
  readonly host?: string;
  /** Default: any free one. */
  readonly port?: number;
  readonly path?: string;
  /** What peers connect to, where that differs from `host`. */
  readonly advertise?: string;
  /** Certificates; where there are some, nothing travels in the clear. Renewed ones are used without a restart. */
  readonly tls?: { readonly server: TlsFiles; readonly client: TlsFiles };
  /** Milliseconds between looks at them; default 5000. */
  readonly tlsReloadMs?: number;
  readonly maxConnections?: number;
  /** A peer that has not taken what it asked for loses its connection so long after the memory is wanted back; default 1000. */
  readonly takeBackMs?: number;
}

/** Transfers over sockets: no addon, any host. Data is framed and checksummed, and waits for slow readers. */
export class TcpAgent implements TransferAgent {
  readonly backend: TransferBackend = 'tcp';
  readonly #options: TcpAgentOptions;
  readonly #table: RegionTable;
  readonly #ledger: Ledger;
  readonly #token = randomBytes(TOKEN_BYTES);
  readonly #server: net.Server;
  readonly #served = new Set<Served>();
  readonly #peers = new Set<TcpPeer>();

  /** Use `startTcpAgent`. */
  constructor(options: TcpAgentOptions) {
    this.#options = options;
    this.#table = new RegionTable(options.maxRegions ?? SLOTS - 1, (region) => this.#takeBack(region));
    this.#ledger = new Ledger(this.#table, options, 'tcp');
    const accept = (socket: net.Socket): void => this.#accept(socket);
    this.#server =
      options.tls === undefined
        ? net.createServer({ noDelay: true }, accept)
        : tlsServer(options.tls.server, options.tlsReloadMs ?? 5000, accept);
    this.#server.maxConnections = options.maxConnections ?? 256;
    this.#server.on('tlsClientError', () => {});
  }

  get name(): string {
    return this.#options.name;
  }

  async listen(): Promise<this> {
    const { host = '127.0.0.1', port = 0, path } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(path === undefined ? { host, port } : { path }, resolve);
    });
    return this;
  }

  async register(buffer: Uint8Array, { readOnly = false }: { readonly readOnly?: boolean } = {}): Promise<Region> {
    const region = this.#table.add(buffer, 0n);
    region.isReadOnly = readOnly;
    return region;
  }

  async metadata(): Promise<Uint8Array> {
    const address = this.#server.address();
    if (address === null) throw new StatorError('not_ready', 'The agent is closed.');
    const { advertise, host = '127.0.0.1' } = this.#options;
    const where =
      typeof address === 'string' ? { path: address } : { host: advertise ?? host, port: String(address.port) };
    const endpoint = { ...where, token: this.#token.toString('base64') };
    return sealMetadata({ backend: 'tcp', agent: this.name, endpoint }, this.#options.secret);
  }

  async connect(metadata: Uint8Array, options: Omit<TransferOptions, 'notification'> = {}): Promise<Peer> {
    const { agent, endpoint } = openMetadata(metadata, { backend: 'tcp', secret: this.#options.secret });
    const token = Buffer.from(endpointField({ backend: 'tcp', agent, endpoint }, 'token'), 'base64');
    if (token.length !== TOKEN_BYTES) throw StatorError.invalid('agent_metadata', 'Its token is malformed.');
    return this.#ledger.attempt(options, async (attempt) => {
      const inbox: Inbox = { take: () => {} };
      const peer: TcpPeer = new TcpPeer({
        name: agent,
        inbox,
        socket: this.#dial(endpoint, inbox),
        ledger: this.#ledger,
        onEnd: () => this.#peers.delete(peer),
      });
      this.#peers.add(peer);
      try {
        await orAborted(peer.greet(token, this.name, attempt), attempt.signal);
        return peer;
      } catch (error) {
        await peer.close();
        throw error;
      }
    });
  }

  counters(): TransferCounters {
    return this.#ledger.counters(this.#peers.size);
  }

  /** A transfer that has settled touches nothing. */
  async quiet(): Promise<void> {}

  async close(): Promise<void> {
    for (const peer of [...this.#peers]) await peer.close();
    await this.#ledger.close();
    for (const served of [...this.#served]) served.destroy();
    await this.#table.revokeAll();
    if (this.#server.listening) await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #accept(socket: net.Socket): void {
    const lender = {
      token: this.#token,
      table: this.#table,
      ledger: this.#ledger,
      onNotification: this.#options.onNotification,
      stallMs: this.#options.timeoutMs ?? defaultTimeoutMs,
    };
    const served: Served = new Served(lender, socket, () => this.#served.delete(served));
    this.#served.add(served);
  }

  /** Streams look a region up before every chunk; what is on its way to the system must have got there. */
  async #takeBack(region: OwnRegion): Promise<void> {
    region.isEnding = true;
    const patience = setTimeout(() => {
      for (const served of [...this.#served]) if (served.reads(region)) served.destroy();
    }, this.#options.takeBackMs ?? defaultTakeBackMs);
    await region.returned();
    clearTimeout(patience);
  }

  #dial(endpoint: Readonly<Record<string, string>>, inbox: Inbox): net.Socket {
    const { host, port, path } = endpoint;
    const target = path === undefined ? { host: host ?? '', port: Number(port), noDelay: true } : { path };
    if (path === undefined && !(Number(port) > 0 && Number(port) < 65_536))
      throw StatorError.invalid('agent_metadata', 'Its port is impossible.');
    const files = this.#options.tls?.client;
    const onread = {
      buffer: Buffer.allocUnsafeSlow(READ_BYTES),
      callback: (bytes: number, buffer: Uint8Array) => {
        inbox.take(Buffer.from(buffer.buffer, buffer.byteOffset, bytes));
        return true;
      },
    };
    if (files === undefined) return net.connect({ ...target, onread });
    const name = files.serverName;
    return tls.connect({ ...target, ...readTlsMaterial(files), ...(name !== undefined && { servername: name }) });
  }
}

/** Files that cannot be used are reported by the port of the service, which watches the same ones. */
function tlsServer(files: TlsFiles, reloadMs: number, accept: (socket: net.Socket) => void): net.Server {
  const server = tls.createServer({ ...readTlsMaterial(files), requestCert: files.ca !== undefined }, accept);
  const close = watchTlsFiles(files, reloadMs, { onChange: (material) => server.setSecureContext(material) });
  server.on('close', close);
  return server;
}

export function startTcpAgent(options: TcpAgentOptions): Promise<TcpAgent> {
  return new TcpAgent(options).listen();
}
