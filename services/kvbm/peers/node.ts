import type { Client } from '@connectrpc/connect';
import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { type BlockOffer, KvPeerService } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { createRpcClient, type RpcTarget } from '#lib/rpc/client.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { connectBest, type Offers } from '#lib/transfer/choose.ts';
import type { Peer, TransferAgent, TransferBackend } from '#lib/transfer/transfer.ts';
import type { Summary } from './summary.ts';

/** After so many failures in a row a node is left alone, for longer each time. */
const failuresToPause = 2;
const firstPauseMs = 1000;
const longestPauseMs = 30_000;

export interface NodeOptions {
  readonly telemetry: Telemetry;
  readonly target: (instance: Instance) => RpcTarget;
  readonly agents: readonly TransferAgent[];
  readonly only: TransferBackend | undefined;
  readonly nowMs: () => number;
}

/** The block manager of another node. */
export class PeerNode {
  readonly id: bigint;
  readonly client: Client<typeof KvPeerService>;
  summary: Summary | undefined;
  readonly #options: NodeOptions;
  readonly #close: () => void;
  #connection: { readonly key: string; readonly peer: Promise<Peer> } | undefined;
  #refreshing: Promise<void> | undefined;
  #failures = 0;
  #pausedUntilMs = 0;
  #closed = false;

  constructor(instance: Instance, options: NodeOptions) {
    this.id = instance.instanceId;
    this.#options = options;
    const { client, close } = createRpcClient(KvPeerService, options.target(instance), options.telemetry);
    this.client = client;
    this.#close = close;
  }

  /** Whether it is worth asking. */
  get isUsable(): boolean {
    return !this.#closed && this.#options.nowMs() >= this.#pausedUntilMs;
  }

  succeeded(): void {
    this.#failures = 0;
  }

  /** Several that fail together count as one. */
  failed(): void {
    if (!this.isUsable) return;
    this.#failures += 1;
    if (this.#failures < failuresToPause) return;
    const pauseMs = Math.min(longestPauseMs, firstPauseMs * 2 ** (this.#failures - failuresToPause));
    this.#pausedUntilMs = this.#options.nowMs() + pauseMs;
  }

  /** Asks for the summary, unless it is being asked for; keeps the old one while the node does not answer. */
  async refresh(timeoutMs: number): Promise<void> {
    this.#refreshing ??= this.#refresh(timeoutMs).finally(() => (this.#refreshing = undefined));
    await this.#refreshing;
  }

  async #refresh(timeoutMs: number): Promise<void> {
    const version = this.summary?.version ?? 0n;
    const found = await this.client.summarizeBlocks({ version }, { timeoutMs });
    this.succeeded();
    if (found.version === version) return;
    const { filter, probes, blocks } = found;
    // Sizes that are no power of two would be read wrongly.
    const isSound = filter.length > 0 && (filter.length & (filter.length - 1)) === 0 && probes <= 16;
    this.summary = isSound ? { version: found.version, filter, probes, blocks: Number(blocks) } : undefined;
  }

  /** The connection over which its memory is read; made at first use, and anew when it offers something else. */
  async connect(offers: readonly BlockOffer[], timeoutMs: number): Promise<Peer> {
    const byBackend: Offers = Object.fromEntries(offers.map(({ backend, agentMetadata }) => [backend, agentMetadata]));
    const key = offers.map(({ agentMetadata }) => Buffer.from(agentMetadata).toString('base64')).join(' ');
    if (this.#connection?.key !== key) {
      this.disconnect();
      const { agents, only } = this.#options;
      const peer = connectBest(agents, byBackend, { timeoutMs, ...(only === undefined ? {} : { only }) });
      this.#connection = { key, peer };
      peer.catch(() => {
        if (this.#connection?.peer === peer) this.#connection = undefined;
      });
    }
    const peer = await this.#connection?.peer;
    if (peer === undefined || this.#closed) throw new StatorError('worker_unavailable', 'The node is gone.');
    return peer;
  }

  /** The next load connects anew. */
  disconnect(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.peer.then((peer) => peer.close()).catch(() => {});
  }

  close(): void {
    this.#closed = true;
    this.disconnect();
    this.#close();
  }
}
