import { expect } from 'chai';
import fc from 'fast-check';
import { SequencedFeed, type SequencedMessage } from './sequenced-feed.ts';

/** A publisher with a memory; `life` tells its lives apart, and its clock never stands still. */
class Memory {
  readonly messages: SequencedMessage[] = [];
  kept = Number.POSITIVE_INFINITY;
  #clock = 0;

  publish(): SequencedMessage {
    const message = { sequence: this.messages.length, payload: new TextEncoder().encode(String(++this.#clock)) };
    this.messages.push(message);
    return message;
  }

  restart(): void {
    this.messages.length = 0;
  }

  *from(sequence: number): Generator<SequencedMessage> {
    yield* this.messages.slice(Math.max(sequence, this.messages.length - this.kept));
  }
}

const timeOf = (payload: Uint8Array): number => Number(new TextDecoder().decode(payload));

interface Harness {
  readonly feed: SequencedFeed;
  readonly told: string[];
  /** Runs what was pushed to its end. */
  settle(): Promise<void>;
}

function harness(replay?: (from: number) => AsyncIterable<SequencedMessage>, maxWaiting = 1000): Harness {
  const told: string[] = [];
  const feed = new SequencedFeed({
    onMessage: ({ sequence, payload }) => void told.push(`${sequence}@${timeOf(payload)}`),
    onReset: () => told.push('reset'),
    replay,
    timeOf,
    maxWaiting,
    tally: {
      delivered: () => {},
      gap: (n) => told.push(`gap ${n}`),
      lost: (n) => told.push(`lost ${n}`),
      stale: () => told.push('stale'),
      overflowed: () => told.push('overflowed'),
      restarted: () => {},
      replayFailed: (error) => told.push(`failed: ${error}`),
    },
  });
  return {
    feed,
    told,
    settle: async () => {
      const stop = new AbortController();
      const run = feed.run(stop.signal);
      // Every wait of the feed ends in microtasks or in the next turn of the event loop.
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
      stop.abort();
      await run;
    },
  };
}

const remembers = (memory: Memory) =>
  async function* (from: number): AsyncGenerator<SequencedMessage> {
    yield* memory.from(from);
  };

function publish(memory: Memory, count: number): SequencedMessage[] {
  return Array.from({ length: count }, () => memory.publish());
}

describe('sequenced feed', () => {
  it('passes messages in order, once', async () => {
    const { feed, told, settle } = harness();
    const [a, b] = publish(new Memory(), 2) as [SequencedMessage, SequencedMessage];
    for (const message of [a, b, b, a]) feed.push(message);
    await settle();
    expect(told).to.deep.equal(['0@1', '1@2', 'stale', 'stale']);
  });

  it('takes what came before it connected from the publisher’s memory', async () => {
    const memory = new Memory();
    const { feed, told, settle } = harness(remembers(memory));
    publish(memory, 3);
    feed.connected();
    await settle();
    expect(told).to.deep.equal(['0@1', '1@2', '2@3']);
  });

  it('fills gaps, and puts late messages where they belong', async () => {
    const memory = new Memory();
    const { feed, told, settle } = harness(remembers(memory));
    const [a, b, c, d] = publish(memory, 4) as [SequencedMessage, SequencedMessage, SequencedMessage, SequencedMessage];
    for (const message of [a, d, c, b]) feed.push(message);
    await settle();
    expect(told).to.deep.equal(['0@1', 'gap 2', '1@2', '2@3', '3@4', 'stale', 'stale']);
  });

  it('goes on without what nobody remembers', async () => {
    const memory = new Memory();
    const [a, , , d] = publish(memory, 4) as [SequencedMessage, unknown, unknown, SequencedMessage];
    const without = harness();
    for (const message of [a, d]) without.feed.push(message);
    await without.settle();
    expect(without.told).to.deep.equal(['0@1', 'gap 2', 'lost 2', '3@4']);
    memory.kept = 2;
    const forgetful = harness(remembers(memory));
    for (const message of [a, d]) forgetful.feed.push(message);
    await forgetful.settle();
    expect(forgetful.told).to.deep.equal(['0@1', 'gap 2', 'lost 1', '2@3', '3@4']);
  });

  it('starts in the middle where there is no memory, without calling the past lost', async () => {
    const { feed, told, settle } = harness();
    const [, , c] = publish(new Memory(), 3) as [unknown, unknown, SequencedMessage];
    feed.push(c);
    await settle();
    expect(told).to.deep.equal(['2@3']);
  });

  it('asks again for what a replay left out, and gives up when that brings nothing', async () => {
    const memory = new Memory();
    publish(memory, 6);
    let asked = 0;
    const holed = async function* (from: number): AsyncGenerator<SequencedMessage> {
      asked++;
      // Drops every second message of what is asked for.
      for (const message of memory.from(from)) if ((message.sequence - from) % 2 === 0 || from > 3) yield message;
    };
    const first = harness(holed);
    first.feed.connected();
    await first.settle();
    expect(first.told.filter((line) => line.includes('@')).length).to.be.greaterThan(0);
    expect(asked).to.be.lessThan(10);
    const deaf = harness(async function* () {
      yield* [];
      throw new Error('timed out');
    });
    for (const message of [memory.messages[0], memory.messages[2]]) if (message !== undefined) deaf.feed.push(message);
    await deaf.settle();
    expect(deaf.told).to.deep.equal(['0@1', 'gap 1', 'failed: Error: timed out', 'lost 1', '2@3']);
  });

  it('asks a publisher that does not answer less and less, until it connects again', async () => {
    const memory = new Memory();
    let asked = 0;
    const { feed, told, settle } = harness(async function* () {
      asked++;
      yield* [];
      throw new Error('timed out');
    });
    for (const message of publish(memory, 41)) if (message.sequence % 2 === 0) feed.push(message);
    await settle();
    expect(told.filter((line) => line === 'lost 1')).to.have.length(20);
    expect(asked).to.equal(4);
    feed.connected();
    await settle();
    expect(asked).to.equal(5);
  });

  it('asks again when a replay broke off half-way', async () => {
    const memory = new Memory();
    publish(memory, 4);
    const { feed, told, settle } = harness(async function* (from: number) {
      yield* memory.messages.slice(from, from + 2);
      if (from < 2) throw new Error('timed out');
    });
    feed.connected();
    await settle();
    expect(told.filter((line) => line.includes('@'))).to.deep.equal(['0@1', '1@2', '2@3', '3@4']);
  });

  it('tells a publisher that began anew by its newer messages under old numbers', async () => {
    const memory = new Memory();
    const { feed, told, settle } = harness();
    for (const message of publish(memory, 2)) feed.push(message);
    memory.restart();
    for (const message of publish(memory, 2)) feed.push(message);
    await settle();
    expect(told).to.deep.equal(['0@1', '1@2', 'reset', '0@3', '1@4']);
  });

  it('tells a publisher that began anew by its memory, though it says nothing yet', async () => {
    const memory = new Memory();
    const { feed, told, settle } = harness(remembers(memory));
    feed.connected();
    publish(memory, 3);
    await settle();
    memory.restart();
    feed.connected();
    await settle();
    expect(told.splice(0)).to.deep.equal(['0@1', '1@2', '2@3', 'reset']);
    publish(memory, 5);
    feed.connected();
    await settle();
    memory.restart();
    publish(memory, 6);
    feed.connected();
    await settle();
    expect(told.filter((line) => line === 'reset' || line.startsWith('5@'))).to.deep.equal(['reset', '5@14']);
  });

  it('knows the same publisher after a broken connection', async () => {
    const memory = new Memory();
    const { feed, told, settle } = harness(remembers(memory));
    feed.connected();
    publish(memory, 2);
    await settle();
    publish(memory, 2);
    feed.connected();
    await settle();
    expect(told).to.deep.equal(['0@1', '1@2', '2@3', '3@4']);
  });

  it('begins anew after a broken connection with a gap that no memory fills', async () => {
    const memory = new Memory();
    const { feed, told, settle } = harness();
    const [a, b, , d] = publish(memory, 4) as [SequencedMessage, SequencedMessage, unknown, SequencedMessage];
    feed.push(a);
    await settle();
    feed.connected();
    feed.push(b);
    await settle();
    feed.connected();
    feed.push(d);
    await settle();
    expect(told).to.deep.equal(['0@1', '1@2', 'reset', '3@4']);
  });

  it('keeps to its bound and asks for what found no room', async () => {
    const memory = new Memory();
    const { feed, told, settle } = harness(remembers(memory), 2);
    for (const message of publish(memory, 4)) feed.push(message);
    await settle();
    expect(told).to.deep.equal(['overflowed', 'overflowed', '0@1', '1@2', '2@3', '3@4']);
  });

  it('ends with what the publisher says, whatever is lost, doubled or exchanged on the way', async () => {
    const step = fc.constantFrom('send', 'send', 'send', 'lose', 'double', 'late', 'restart', 'reconnect', 'settle');
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const memory = new Memory();
        const { feed, told, settle } = harness(remembers(memory));
        const late: SequencedMessage[] = [];
        for (const kind of steps) {
          if (kind === 'settle') await settle();
          else if (kind === 'reconnect') feed.connected();
          else if (kind === 'restart') {
            late.length = 0;
            memory.restart();
            feed.connected();
          } else {
            const message = memory.publish();
            if (kind === 'late') late.push(message);
            if (kind === 'send' || kind === 'double') feed.push(message);
            if (kind === 'double') feed.push(message);
            if (kind === 'send') for (const old of late.splice(0)) feed.push(old);
          }
        }
        feed.connected();
        await settle();
        const sinceReset = told.slice(told.lastIndexOf('reset') + 1).filter((line) => line.includes('@'));
        const said = memory.messages.map(({ sequence, payload }) => `${sequence}@${timeOf(payload)}`);
        expect(sinceReset).to.deep.equal(said);
        // A life that is over is remembered by nobody.
        if (!steps.includes('restart')) expect(told.filter((line) => line.startsWith('lost'))).to.deep.equal([]);
      }),
      { numRuns: 200 },
    );
  });
});
