import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Publisher, Router } from 'zeromq';

/**
 * Publishes numbered messages as engines do: PUB of [topic, number, payload], and a ROUTER that replays what it kept.
 * For tests: messages can be kept from the wire, and anything can be put on it.
 */
export class TestPublisher {
  readonly #pub = new Publisher({ linger: 0 });
  readonly #router = new Router({ linger: 0 });
  readonly #kept: [sequence: number, payload: Uint8Array][] = [];
  readonly #topic: string;
  #endpoint = '';
  #replayEndpoint = '';
  #next = 0;
  /** Replays asked for. */
  replays = 0;

  private constructor(topic: string) {
    this.#topic = topic;
  }

  /** On free ports, or on those of a publisher that was closed. */
  static async open(
    o: { topic?: string; like?: Pick<TestPublisher, 'endpoint' | 'replayEndpoint'> | undefined } = {},
  ): Promise<TestPublisher> {
    const publisher = new TestPublisher(o.topic ?? '');
    try {
      await bind(publisher.#pub, o.like?.endpoint);
      await bind(publisher.#router, o.like?.replayEndpoint);
    } catch (error) {
      publisher.close();
      throw error;
    }
    publisher.#endpoint = publisher.#pub.lastEndpoint ?? '';
    publisher.#replayEndpoint = publisher.#router.lastEndpoint ?? '';
    void publisher.#serveReplays();
    return publisher;
  }

  /** Messages published so far, on the wire or not. */
  get published(): number {
    return this.#next;
  }

  get endpoint(): string {
    return this.#endpoint;
  }

  get replayEndpoint(): string {
    return this.#replayEndpoint;
  }

  async publish(payload: Uint8Array, o: { onWire?: boolean } = {}): Promise<void> {
    const sequence = this.#next++;
    this.#kept.push([sequence, payload]);
    if (o.onWire !== false) await this.#pub.send([this.#topic, numberBytes(sequence), payload]);
  }

  /** Puts a kept message on the wire again, or for the first time. */
  async repeat(sequence: number): Promise<void> {
    const payload = this.#kept[sequence]?.[1];
    if (payload !== undefined) await this.#pub.send([this.#topic, numberBytes(sequence), payload]);
  }

  async sendFrames(frames: Uint8Array[]): Promise<void> {
    await this.#pub.send(frames);
  }

  close(): void {
    this.#pub.close();
    this.#router.close();
  }

  async #serveReplays(): Promise<void> {
    for await (const [identity, , from] of this.#router) {
      this.replays++;
      if (identity === undefined || from === undefined) continue;
      const first = Number(from.readBigUInt64BE());
      const wanted = this.#kept.filter(([sequence]) => sequence >= first);
      // Newer engines put the topic before the number.
      const before = this.#topic === '' ? [identity, ''] : [identity, '', this.#topic];
      for (const [sequence, payload] of wanted) await this.#router.send([...before, numberBytes(sequence), payload]);
      await this.#router.send([...before, Buffer.alloc(8, 0xff), '']);
    }
  }
}

/** A port that was closed just now is free a little later. */
async function bind(socket: Publisher | Router, endpoint?: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await socket.bind(endpoint ?? anyEndpoint());
    } catch (error) {
      if (tries === 500) throw error;
      await sleep(20);
    }
  }
}

/**
 * Below the ports that systems give to outgoing connections, which would take one while its publisher begins anew, and below
 * those that servers of other tests are told beforehand.
 */
function anyEndpoint(): string {
  return `tcp://127.0.0.1:${randomInt(4000, 10_000)}`;
}

function numberBytes(sequence: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(sequence));
  return bytes;
}
