import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { StatorError } from '#lib/errors/errors.ts';
import { type Attempt, Ledger } from '../ledger.ts';
import { endpointField, openMetadata, sealMetadata } from '../metadata.ts';
import { RegionTable, SLOTS } from '../regions.ts';
import {
  type AgentOptions,
  maxNotificationBytes,
  type Peer,
  type Piece,
  type Region,
  type TransferAgent,
  type TransferBackend,
  type TransferCounters,
  type TransferOptions,
} from '../transfer.ts';
import type { NixlAgentBinding, NixlBinding } from './binding.ts';
import { fromNixl } from './errors.ts';
import { Fence } from './fence.ts';
import { type Places, segments } from './segments.ts';

const LINGERING_POLL_MS = 20;

/** Transfers through NIXL over UCX: RDMA where there is some, else copies between processes or sockets. */
export class NixlTransferAgent implements TransferAgent {
  readonly backend: TransferBackend = 'nixl';
  readonly name: string;
  readonly #options: AgentOptions;
  readonly #nixl: NixlBinding;
  readonly #agent: NixlAgentBinding;
  readonly #fence: Fence;
  readonly #registrations = new Map<number, number>();
  readonly #peers = new Set<NixlPeer>();
  readonly #table: RegionTable;
  readonly #ledger: Ledger;

  /** Use `startNixlAgent`. */
  constructor(options: AgentOptions, nixl: NixlBinding, agent: NixlAgentBinding, fence: Fence) {
    this.name = options.name;
    this.#options = options;
    this.#nixl = nixl;
    this.#agent = agent;
    this.#fence = fence;
    this.#table = new RegionTable(options.maxRegions ?? SLOTS - 1, ({ ref }) => this.#revoke(ref.id));
    this.#ledger = new Ledger(this.#table, options, 'nixl');
  }

  async register(buffer: Uint8Array): Promise<Region> {
    const region = this.#table.add(buffer, this.#nixl.addressOf(buffer));
    try {
      this.#registrations.set(region.ref.id, await this.#agent.registerBuffers([buffer]));
    } catch (error) {
      this.#table.discard(region);
      throw fromNixl(error);
    }
    this.#fence.lend(region.ref.id);
    return region;
  }

  async metadata(): Promise<Uint8Array> {
    const blob = Buffer.from(await this.#agent.metadata().catch((error: unknown) => Promise.reject(fromNixl(error))));
    const endpoint = { blob: blob.toString('base64'), fence: String(this.#nixl.addressOf(this.#fence.table)) };
    return sealMetadata({ backend: 'nixl', agent: this.name, endpoint }, this.#options.secret);
  }

  async connect(bytes: Uint8Array, options: Omit<TransferOptions, 'notification'> = {}): Promise<Peer> {
    const metadata = openMetadata(bytes, { backend: 'nixl', secret: this.#options.secret });
    const fence = endpointField(metadata, 'fence');
    if (!/^\d{1,20}$/.test(fence)) throw StatorError.invalid('agent_metadata', 'Its fence is malformed.');
    const blob = Buffer.from(endpointField(metadata, 'blob'), 'base64');
    return this.#ledger.attempt(options, async () => {
      const remote = await this.#agent.loadRemote(blob).catch((cause: unknown) => {
        throw StatorError.invalid('agent_metadata', 'NIXL does not take it.', { cause });
      });
      const link = { nixl: this.#nixl, agent: this.#agent, fence: this.#fence, ledger: this.#ledger };
      const peer: NixlPeer = new NixlPeer(metadata.agent, remote, BigInt(fence), link, () => this.#forget(peer));
      this.#peers.add(peer);
      return peer;
    });
  }

  counters(): TransferCounters {
    return this.#ledger.counters(this.#peers.size);
  }

  async quiet(): Promise<void> {
    while ((await this.#agent.lingering()) > 0) await sleep(LINGERING_POLL_MS);
  }

  async close(): Promise<void> {
    await this.#ledger.close();
    for (const peer of [...this.#peers]) await peer.close();
    await this.#table.revokeAll().catch(() => {});
    await this.#agent.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #revoke(id: number): Promise<void> {
    this.#fence.revoke(id);
    const registration = this.#registrations.get(id);
    if (registration === undefined) return;
    await this.#agent.deregister(registration).catch((error: unknown) => Promise.reject(fromNixl(error)));
    this.#registrations.delete(id);
  }

  async #forget(peer: NixlPeer): Promise<void> {
    if (!this.#peers.delete(peer)) return;
    if ([...this.#peers].some(({ remote }) => remote === peer.remote)) return;
    await this.#agent.forgetRemote(peer.remote).catch(() => {});
  }
}

interface Link {
  readonly nixl: NixlBinding;
  readonly agent: NixlAgentBinding;
  readonly fence: Fence;
  readonly ledger: Ledger;
}

class NixlPeer implements Peer {
  readonly backend: TransferBackend = 'nixl';
  readonly name: string;
  /** The name that NIXL knows it by. */
  readonly remote: string;
  readonly #fenceAddress: bigint;
  readonly #link: Link;
  readonly #forget: () => Promise<void>;
  readonly #closed = new AbortController();

  constructor(name: string, remote: string, fenceAddress: bigint, link: Link, forget: () => Promise<void>) {
    this.name = name;
    this.remote = remote;
    this.#fenceAddress = fenceAddress;
    this.#link = link;
    this.#forget = forget;
  }

  pull(pieces: readonly Piece[], options: TransferOptions = {}): Promise<void> {
    return this.#transfer('pull', pieces, options, (attempt) => this.#move('read', pieces, attempt));
  }

  push(pieces: readonly Piece[], options: TransferOptions = {}): Promise<void> {
    return this.#transfer('push', pieces, options, async (attempt) => {
      await this.#check(pieces, attempt);
      await this.#move('write', pieces, attempt);
    });
  }

  async notify(message: Uint8Array, options: Omit<TransferOptions, 'notification'> = {}): Promise<void> {
    if (message.byteLength > maxNotificationBytes) throw StatorError.invalid('message', 'At most 64 KiB can be sent.');
    await this.#link.ledger.attempt(options, () => this.#link.agent.notify(this.remote, message)).catch(rethrow);
  }

  async close(): Promise<void> {
    this.#closed.abort();
    await this.#forget();
  }

  #transfer(
    direction: 'pull' | 'push',
    pieces: readonly Piece[],
    options: TransferOptions,
    work: (attempt: Attempt) => Promise<void>,
  ): Promise<void> {
    const own = this.#closed.signal;
    const signal = options.signal === undefined ? own : AbortSignal.any([own, options.signal]);
    return this.#link.ledger.transfer(direction, pieces, { ...options, signal }, async (attempt) => {
      try {
        await work(attempt);
        if (options.notification !== undefined) await this.#link.agent.notify(this.remote, options.notification);
      } catch (error) {
        throw attempt.signal.aborted ? attempt.signal.reason : await this.#explain(fromNixl(error), pieces, attempt);
      }
    });
  }

  /** NIXL says of revoked memory and of lost peers alike that its back end failed; the fence knows better. */
  async #explain(error: StatorError, pieces: readonly Piece[], attempt: Attempt): Promise<StatorError> {
    if (error.code !== 'worker_unavailable') return error;
    return this.#check(pieces, attempt).then(
      () => error,
      (why: unknown) => (why instanceof StatorError && why.code === 'not_found' ? why : error),
    );
  }

  /** Moves the data and looks after it whether it was lent all the while. */
  async #move(operation: 'read' | 'write', pieces: readonly Piece[], attempt: Attempt): Promise<void> {
    let last: Places | undefined;
    for (const segment of segments(pieces, this.#link.nixl)) {
      if (last !== undefined) await this.#post(operation, last, attempt);
      last = segment;
    }
    await this.#check(pieces, attempt, last && { operation, places: last });
  }

  /** `data` is moved right before the first words are read. */
  #check(pieces: readonly Piece[], attempt: Attempt, data?: Data): Promise<void> {
    const ids = [...new Set(pieces.map(({ remote }) => remote.id))];
    const scratch = this.#link.nixl.addressOf(this.#link.fence.scratch);
    let waiting = data;
    return this.#link.fence.check(ids, async (words, unread) => {
      const here = words.map((word) => ({ address: scratch + BigInt(word.here), bytes: 8 }));
      const there = words.map((word) => ({ address: this.#fenceAddress + BigInt(word.there), bytes: 8 }));
      if (waiting === undefined) return this.#post('read', { here, there }, attempt);
      const { operation, places } = waiting;
      waiting = undefined;
      try {
        await this.#post(operation, places, attempt, { here, there });
      } catch (error) {
        if (!(error instanceof Error && 'field' in error && error.field === 'next')) unread();
        throw error;
      }
    });
  }

  async #post(operation: 'read' | 'write', places: Places, attempt: Attempt, next?: Places): Promise<void> {
    const { agent, nixl } = this.#link;
    attempt.signal.throwIfAborted();
    const rangesOf = ({ here, there }: Places) => ({ local: nixl.dramRanges(here), remote: nixl.dramRanges(there) });
    const { local, remote } = rangesOf(places);
    const options = { operation, timeoutMs: Math.max(0, attempt.deadlineMs - Date.now()), signal: attempt.signal };
    await agent.transfer(options, local, this.remote, remote, next === undefined ? null : rangesOf(next));
  }
}

interface Data {
  readonly operation: 'read' | 'write';
  readonly places: Places;
}

function rethrow(error: unknown): never {
  throw fromNixl(error);
}

/** Opens an agent with the back end UCX. Rejects where NIXL cannot. */
export async function startNixlAgent(options: AgentOptions, nixl: NixlBinding): Promise<NixlTransferAgent> {
  const suffix = randomBytes(6).toString('hex');
  const agent = await nixl
    .openAgent({
      name: `${options.name}#${suffix}`,
      onNotification: ({ agent: from, message }) =>
        options.onNotification?.(from.replace(/#[0-9a-f]{12}$/, ''), message),
    })
    .catch(rethrow);
  try {
    await agent.createBackend('UCX');
    const fence = new Fence();
    await agent.registerBuffers([fence.table, fence.scratch]);
    return new NixlTransferAgent(options, nixl, agent, fence);
  } catch (error) {
    await agent.close();
    throw fromNixl(error);
  }
}
