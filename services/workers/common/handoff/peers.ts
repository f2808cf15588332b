import { createHash } from 'node:crypto';
import type { KvHandoff } from '#gen/stator/transfer/v1/handoff_pb.ts';
import { connectBest, type Offers } from '#lib/transfer/choose.ts';
import type { Peer, TransferAgent, TransferBackend } from '#lib/transfer/transfer.ts';

/** A prefill worker that does not even answer is given up before its KV has expired. */
const connectMs = 3000;

/** Peers that are kept connected at most; the one that was not used for the longest is closed first. */
const maxPeers = 128;

interface Connected {
  readonly peer: Peer;
  uses: number;
  /** No longer kept: closed with its last use. */
  dropped: boolean;
}

/** Connections to the agents of prefill workers, kept from one handoff to the next where their metadata stays the same. */
export class Peers {
  readonly #connected = new Map<string, Promise<Connected>>();

  /** Runs `work` with a peer; one with which it fails is not used again. */
  async use<T>(
    agents: readonly TransferAgent[],
    handoff: Pick<KvHandoff, 'offers'>,
    timeoutMs: number,
    work: (peer: Peer) => Promise<T>,
  ): Promise<T> {
    const offers = offersOf(handoff);
    const key = keyOf(offers);
    const connecting = this.#connected.get(key) ?? this.#connect(key, agents, offers, timeoutMs);
    const connected = await connecting;
    connected.uses++;
    try {
      return await work(connected.peer);
    } catch (thrown) {
      this.#drop(key, connecting, connected);
      throw thrown;
    } finally {
      connected.uses--;
      if (connected.dropped && connected.uses === 0) await connected.peer.close();
    }
  }

  async close(): Promise<void> {
    const all = [...this.#connected.values()];
    this.#connected.clear();
    for (const connecting of all) await connecting.then(({ peer }) => peer.close()).catch(() => {});
  }

  #connect(key: string, agents: readonly TransferAgent[], offers: Offers, timeoutMs: number): Promise<Connected> {
    const connecting = connectBest(agents, offers, { timeoutMs: Math.min(timeoutMs, connectMs) }).then((peer) => ({
      peer,
      uses: 0,
      dropped: false,
    }));
    this.#connected.set(key, connecting);
    connecting.catch(() => this.#connected.delete(key));
    for (const oldest of this.#connected) {
      if (this.#connected.size <= maxPeers) break;
      void oldest[1].then((connected) => this.#drop(oldest[0], oldest[1], connected)).catch(() => {});
      this.#connected.delete(oldest[0]);
    }
    return connecting;
  }

  #drop(key: string, connecting: Promise<Connected>, connected: Connected): void {
    if (this.#connected.get(key) === connecting) this.#connected.delete(key);
    connected.dropped = true;
    if (connected.uses === 0) void connected.peer.close();
  }
}

function offersOf({ offers }: Pick<KvHandoff, 'offers'>): Offers {
  return Object.fromEntries(offers.map(({ backend, agentMetadata }) => [backend as TransferBackend, agentMetadata]));
}

function keyOf(offers: Offers): string {
  const hash = createHash('sha256');
  for (const [backend, metadata] of Object.entries(offers).sort()) hash.update(backend).update('\0').update(metadata);
  return hash.digest('base64');
}
