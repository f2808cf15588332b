import type { Logger } from 'pino';
import { StatorError } from '#lib/errors/errors.ts';
import { parseAddress } from '#lib/rpc/address.ts';
import type { TlsFiles } from '#lib/rpc/tls.ts';
import type { TransferMetrics } from '#lib/transfer/metrics.ts';
import { startTcpAgent } from '#lib/transfer/tcp/agent.ts';
import type { AgentOptions, TransferAgent, TransferBackend } from '#lib/transfer/transfer.ts';

export interface HandoffAgentOptions {
  /** Comma-separated. */
  readonly backends: string;
  /** Unique among workers. */
  readonly name: string;
  /** host:port of the worker; sockets listen on the same host. */
  readonly listen: string;
  /** What others call that host, where it differs. */
  readonly advertise: string | undefined;
  readonly tls: TlsFiles | undefined;
  readonly secret: string | undefined;
  readonly nixlLibrary: string | undefined;
  readonly log: Logger;
  readonly metrics: TransferMetrics;
}

const backends: readonly TransferBackend[] = ['shm', 'nixl', 'tcp'];

/** The back ends named in a setting; throws `invalid_argument` for an unknown one, and for none. */
export function parseBackends(text: string): TransferBackend[] {
  const names = text.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !backends.includes(name as TransferBackend));
  if (unknown === undefined) return backends.filter((backend) => names.includes(backend));
  throw StatorError.invalid('handoff_backends', `There is no transfer back end "${unknown}": ${backends.join(', ')}.`);
}

/** Opened with the first handoff: most workers never have one. */
export class HandoffAgents {
  readonly #o: HandoffAgentOptions;
  #opening: Promise<readonly TransferAgent[]> | undefined;
  #closed = false;

  /** Throws `invalid_argument` for a bad setting. */
  constructor(options: HandoffAgentOptions) {
    parseBackends(options.backends);
    this.#o = options;
  }

  /** At least one; rejects with `not_ready` where none can be opened. */
  async get(): Promise<readonly TransferAgent[]> {
    if (this.#closed) throw new StatorError('draining', 'The worker stops.');
    this.#opening ??= this.#open();
    const agents = await this.#opening;
    if (agents.length > 0) return agents;
    this.#opening = undefined;
    throw new StatorError('not_ready', 'No transfer back end can be opened.');
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const agent of (await this.#opening) ?? []) await agent.close();
  }

  async #open(): Promise<readonly TransferAgent[]> {
    const agents: TransferAgent[] = [];
    for (const backend of parseBackends(this.#o.backends)) {
      try {
        agents.push(await this.#start(backend));
      } catch (thrown) {
        this.#o.log.warn({ err: StatorError.from(thrown), backend }, 'KV is not handed over this way');
      }
    }
    return agents;
  }

  /** Addons are loaded only where they are used. */
  async #start(backend: TransferBackend): Promise<TransferAgent> {
    const { name, secret, nixlLibrary: configured, listen, advertise, tls, metrics } = this.#o;
    const common: AgentOptions = { name: `${name}-${backend}`, metrics, ...(secret === undefined ? {} : { secret }) };
    if (backend === 'shm') {
      const [{ startShmAgent }, { hostMemory }] = await Promise.all([
        import('#lib/transfer/shm/agent.ts'),
        import('#native/hostmem/index.ts'),
      ]);
      return startShmAgent(common, hostMemory());
    }
    if (backend === 'nixl') {
      const [{ startNixlAgent }, { nixlLibrary }, { Nixl }, { addressOf, dramRanges }] = await Promise.all([
        import('#lib/transfer/nixl/agent.ts'),
        import('#lib/transfer/nixl/library.ts'),
        import('#native/nixl/index.ts'),
        import('#native/nixl/ranges.ts'),
      ]);
      const nixl = new Nixl(nixlLibrary(configured));
      return startNixlAgent(common, { openAgent: (each) => nixl.openAgent(each), addressOf, dramRanges });
    }
    const { host } = parseAddress(listen, 'listen');
    const shown = advertise === undefined ? host : parseAddress(advertise, 'advertise').host;
    return startTcpAgent({
      ...common,
      host,
      advertise: shown,
      ...(tls === undefined ? {} : { tls: { server: tls, client: tls } }),
    });
  }
}
