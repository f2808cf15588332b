import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { Publisher } from 'zeromq';
import { endpointOfRank } from './endpoint.ts';
import { followPublisher, type SubscriptionOptions } from './subscription.ts';
import { TestPublisher } from './testing/publisher.ts';

interface Follower {
  readonly told: string[];
  readonly counts: Record<string, number>;
  readonly ended: Promise<void>;
  /** Waits until something that was told is this. */
  until(line: string): Promise<void>;
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
/** Payloads of tests begin with their time. */
const timeOf = (payload: Uint8Array): number => Number.parseFloat(new TextDecoder().decode(payload));

describe('subscription to a publisher', () => {
  let stop: AbortController;
  const opened: TestPublisher[] = [];
  const children: ChildProcess[] = [];

  beforeEach(() => {
    stop = new AbortController();
  });

  afterEach(() => {
    stop.abort();
    for (const publisher of opened.splice(0)) publisher.close();
    for (const child of children.splice(0)) child.kill('SIGKILL');
  });

  async function open(o: Parameters<typeof TestPublisher.open>[0] = {}): Promise<TestPublisher> {
    const publisher = await TestPublisher.open(o);
    opened.push(publisher);
    return publisher;
  }

  function follow(o: Partial<SubscriptionOptions> & Pick<SubscriptionOptions, 'endpoint'>): Follower {
    const told: string[] = [];
    const counts: Record<string, number> = {};
    const count =
      (name: string) =>
      (by: unknown = 1): void => {
        counts[name] = (counts[name] ?? 0) + (typeof by === 'number' ? by : 1);
        changed();
      };
    let changed = (): void => {};
    const ended = followPublisher(
      {
        bind: false,
        topic: '',
        maxWaiting: 10_000,
        replayTimeoutMs: 2000,
        timeOf,
        onMessage: ({ sequence, payload }) => {
          told.push(`${sequence}:${new TextDecoder().decode(payload)}`);
          changed();
        },
        onReset: () => told.push('reset'),
        tally: {
          delivered: (replayed) => count(replayed ? 'replayed' : 'live')(),
          gap: count('gap'),
          lost: count('lost'),
          stale: count('stale'),
          overflowed: count('overflowed'),
          restarted: count('restarted'),
          replayFailed: count('replayFailed'),
          garbled: count('garbled'),
        },
        ...o,
      },
      stop.signal,
    );
    const until = async (line: string): Promise<void> => {
      while (!told.includes(line))
        await new Promise<void>((resolve) => {
          changed = resolve;
        });
    };
    return { told, counts, ended, until };
  }

  /** Follows a publisher that replays; the first message shows that it is connected. */
  async function followed(publisher: TestPublisher, o: Partial<SubscriptionOptions> = {}): Promise<Follower> {
    await publisher.publish(bytes('1 first'));
    const follower = follow({ endpoint: publisher.endpoint, replayEndpoint: publisher.replayEndpoint, ...o });
    await follower.until('0:1 first');
    return follower;
  }

  it('takes what was published before and after it came', async () => {
    const publisher = await open();
    const { told, until, counts } = await followed(publisher);
    await publisher.publish(bytes('2 b'));
    await publisher.publish(bytes('3 c'));
    await until('2:3 c');
    expect(told).to.deep.equal(['0:1 first', '1:2 b', '2:3 c']);
    expect(counts).to.deep.equal({ replayed: 1, live: 2 });
  });

  it('asks for lost messages and counts repeated ones', async () => {
    const publisher = await open();
    const { told, until, counts } = await followed(publisher);
    await publisher.publish(bytes('2 lost'), { onWire: false });
    await publisher.publish(bytes('3 lost'), { onWire: false });
    await publisher.publish(bytes('4 d'));
    await until('3:4 d');
    await publisher.repeat(1);
    await publisher.publish(bytes('5 e'));
    await until('4:5 e');
    expect(told).to.deep.equal(['0:1 first', '1:2 lost', '2:3 lost', '3:4 d', '4:5 e']);
    expect(counts).to.deep.equal({ replayed: 4, gap: 2, stale: 1, live: 1 });
  });

  it('counts frames that mean nothing and goes on', async () => {
    const publisher = await open();
    const { told, until, counts } = await followed(publisher);
    await publisher.sendFrames([bytes('')]);
    await publisher.sendFrames([bytes(''), bytes('short'), bytes('x')]);
    await publisher.sendFrames([bytes(''), Buffer.alloc(8, 0xff), bytes('x')]);
    await publisher.sendFrames([bytes(''), bytes('12345678'), bytes('x'), bytes('y')]);
    await publisher.publish(bytes('2 b'));
    await until('1:2 b');
    expect(told).to.have.length(2);
    expect(counts['garbled']).to.equal(4);
  });

  it('begins anew with a publisher that was closed and opened on the same ports', async () => {
    const first = await open();
    const { told, until, counts } = await followed(first);
    first.close();
    const second = await open({ like: first });
    await second.publish(bytes('5 again'));
    await until('0:5 again');
    expect(told).to.deep.equal(['0:1 first', 'reset', '0:5 again']);
    expect(counts['restarted']).to.equal(1);
  });

  it('begins anew with a publisher whose process was killed', async function () {
    this.timeout(180_000);
    const start = async (...args: string[]): Promise<string[]> => {
      const fixture = fileURLToPath(new URL('./testing/publisher.fixture.ts', import.meta.url));
      const child = spawn(process.execPath, ['--conditions=source', fixture, ...args], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      children.push(child);
      const [line]: string[] = await once(createInterface({ input: child.stdout }), 'line');
      return (line ?? '').split(' ');
    };
    const [endpoint = '', replayEndpoint = ''] = await start('3');
    const { told, counts } = follow({ endpoint, replayEndpoint });
    while (told.length < 3) await new Promise((resolve) => setTimeout(resolve, 10));
    children[0]?.kill('SIGKILL');
    await start('5', endpoint, replayEndpoint);
    while (told.length < 9) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(told.map((line) => line.split(':')[0])).to.deep.equal(['0', '1', '2', 'reset', '0', '1', '2', '3', '4']);
    expect(counts['restarted']).to.equal(1);
  });

  it('goes on without a publisher that does not replay', async () => {
    const publisher = await open();
    const { endpoint } = publisher;
    const { told, counts } = follow({ endpoint, replayEndpoint: endpoint, replayTimeoutMs: 50 });
    for (let i = 0; told.length === 0; i++) {
      await publisher.publish(bytes(`${i} x`));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(counts['replayFailed']).to.be.greaterThan(0);
    expect(counts['lost']).to.equal(undefined);
  });

  it('takes the topics that it wants', async () => {
    const publisher = await open({ topic: 'kv-events' });
    const { told, until } = await followed(publisher, { topic: 'kv' });
    await publisher.sendFrames([bytes('other'), Buffer.alloc(8), bytes('9 x')]);
    await publisher.publish(bytes('2 b'));
    await until('1:2 b');
    expect(told).to.deep.equal(['0:1 first', '1:2 b']);
  });

  it('opens the endpoint where the publisher connects', async () => {
    const probe = createServer().listen(0, '127.0.0.1');
    await once(probe, 'listening');
    const address = probe.address();
    const endpoint = `tcp://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
    probe.close();
    await once(probe, 'close');
    const { told } = follow({ endpoint, bind: true });
    const publisher = new Publisher({ linger: 0 });
    publisher.connect(endpoint);
    // What is sent before the subscription arrives is gone.
    for (let i = 0; told.length === 0; i++) {
      await publisher.send(['', Buffer.alloc(8), bytes(`${i} hello`)]);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(told[0]).to.match(/^0:\d+ hello$/);
    publisher.close();
  });

  it('ends when told, and at once when the endpoint cannot be opened', async () => {
    const publisher = await open();
    const { ended } = await followed(publisher);
    stop.abort();
    await ended;
    stop = new AbortController();
    const taken = follow({ endpoint: publisher.endpoint, bind: true });
    expect(await taken.ended.catch((error: unknown) => String(error))).to.contain('in use');
  });
});

describe('endpoint of a rank', () => {
  it('adds the rank to the port', () => {
    expect(endpointOfRank('tcp://127.0.0.1:5557', 3)).to.equal('tcp://127.0.0.1:5560');
    expect(endpointOfRank('tcp://[::1]:5557', 1)).to.equal('tcp://[::1]:5558');
    expect(endpointOfRank('ipc:///run/engine.sock', 0)).to.equal('ipc:///run/engine.sock');
  });

  it('refuses what it cannot add to', () => {
    expect(() => endpointOfRank('ipc:///run/engine.sock', 1)).to.throw('no port to add data parallel rank 1');
    expect(() => endpointOfRank('tcp://127.0.0.1:65535', 1)).to.throw('above 65535');
    expect(() => endpointOfRank('127.0.0.1:5557', 0)).to.throw('is not tcp://HOST:PORT');
  });
});
