import type { Logger } from 'pino';
import { StatorError } from '#lib/errors/errors.ts';
import { parseAddress } from '#lib/rpc/address.ts';
import type { TlsFiles } from '#lib/rpc/tls.ts';
import type { TransferMetrics } from '#lib/transfer/metrics.ts';
import { startTransferAgents, type TransferAddons } from '#lib/transfer/start-agents.ts';
import { type TransferAgent, type TransferBackend, transferBackends } from '#lib/transfer/transfer.ts';

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

/** Addons are loaded only where they are used. */
const addons: TransferAddons = {
  hostMemory: async () => (await import('#native/hostmem/index.ts')).hostMemory(),
  nixl: async (library) => new (await import('#native/nixl/index.ts')).Nixl(library),
};

/** The back ends named in a setting; throws `invalid_argument` for an unknown one, and for none. */
export function parseBackends(text: string): TransferBackend[] {
  const names = text.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !transferBackends.includes(name as TransferBackend));
  if (unknown === undefined) return transferBackends.filter((backend) => names.includes(backend));
  const known = transferBackends.join(', ');
  throw StatorError.invalid('handoff_backends', `There is no transfer back end "${unknown}": ${known}.`);
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

  #open(): Promise<readonly TransferAgent[]> {
    const { backends, listen, advertise, tls, secret, log, ...options } = this.#o;
    const { host } = parseAddress(listen, 'listen');
    return startTransferAgents({
      ...options,
      backends: parseBackends(backends),
      addons,
      failed: (backend, thrown) =>
        log.warn({ err: StatorError.from(thrown), backend }, 'KV is not handed over this way'),
      host,
      advertise: advertise === undefined ? host : parseAddress(advertise, 'advertise').host,
      ...(secret === undefined ? {} : { secret }),
      ...(tls === undefined ? {} : { tls: { server: tls, client: tls } }),
    });
  }
}
