import { Publisher, Router } from 'zeromq';
import { StatorError } from '#lib/errors/errors.ts';

/** Batches that a late subscriber can ask for, as vLLM keeps them. */
const keptBatches = 10_000;
/** Ends a replay. */
const endOfReplay = Buffer.alloc(8, 0xff);

export interface ZmqEndpoints {
  /** Of the PUB socket; a rank's port is this plus the rank. */
  readonly endpoint: string;
  /** Of the ROUTER socket that replays; undefined: there is none. */
  readonly replayEndpoint: string | undefined;
}

/** Publishes numbered batches as vLLM does: PUB of [topic, number, payload], and a ROUTER that replays the last 10,000. */
export class ZmqFeed {
  readonly #pub = new Publisher({ linger: 0 });
  readonly #router: Router | undefined;
  readonly #kept: Uint8Array[] = [];
  /** Number of the first batch that is kept. */
  #first = 0;
  /** Number of the next batch to be sent. */
  #unsent = 0;
  #sending = false;
  #closed = false;

  private constructor(replays: boolean) {
    this.#router = replays ? new Router({ linger: 0 }) : undefined;
  }

  /** Throws `invalid_argument` for endpoints that cannot be bound. */
  static async open({ endpoint, replayEndpoint }: ZmqEndpoints): Promise<ZmqFeed> {
    const feed = new ZmqFeed(replayEndpoint !== undefined);
    try {
      await feed.#pub.bind(endpoint);
      if (replayEndpoint !== undefined) await feed.#router?.bind(replayEndpoint);
    } catch (cause) {
      feed.close();
      const why = cause instanceof Error ? cause.message : String(cause);
      const message = `KV events cannot be published at ${endpoint}: ${why}`;
      throw new StatorError('invalid_argument', message, { field: 'zmq_kv_events', cause });
    }
    void feed.#serveReplays();
    return feed;
  }

  publish(batch: Uint8Array): void {
    this.#kept.push(batch);
    if (this.#kept.length > 2 * keptBatches) {
      this.#first += this.#kept.length - keptBatches;
      this.#kept.splice(0, this.#kept.length - keptBatches);
    }
    if (!this.#sending) void this.#send();
  }

  close(): void {
    this.#closed = true;
    this.#pub.close();
    this.#router?.close();
  }

  /** One after the other: a socket takes no second message before it has the first. */
  async #send(): Promise<void> {
    this.#sending = true;
    while (!this.#closed) {
      // What is not kept any more was never sent: the socket could not keep up, and subscribers see the gap.
      this.#unsent = Math.max(this.#unsent, this.#first);
      const batch = this.#kept[this.#unsent - this.#first];
      if (batch === undefined) break;
      await this.#pub.send(['', numberBytes(this.#unsent), batch]).catch(() => this.close());
      this.#unsent++;
    }
    this.#sending = false;
  }

  async #serveReplays(): Promise<void> {
    const router = this.#router;
    if (router === undefined) return;
    try {
      for await (const [identity, empty, from] of router) {
        if (identity === undefined || empty === undefined || from?.length !== 8) continue;
        await this.#replay(router, identity, Number(from.readBigUInt64BE()));
      }
    } catch {
      // The socket is closed: nobody can ask any more.
    }
  }

  async #replay(router: Router, identity: Buffer, from: number): Promise<void> {
    for (let number = Math.max(from, this.#first); number < this.#first + this.#kept.length; number++) {
      const batch = this.#kept[number - this.#first];
      if (batch !== undefined) await router.send([identity, '', numberBytes(number), batch]);
    }
    await router.send([identity, '', endOfReplay, '']);
  }
}

function numberBytes(number: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(number));
  return bytes;
}
