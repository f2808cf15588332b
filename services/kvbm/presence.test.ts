import { expect } from 'chai';
import { unpackHashes } from '#core/tokens/packed-hashes.ts';
import { Tier } from '#gen/stator/events/v1/events_pb.ts';
import { BlockTier, type PresenceEvents } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { hashOf, refusal, TestKvbm, type TestWorker } from './kvbm.test-support.ts';

/** What someone believes who heard these messages: hashes in host memory. */
class Believed {
  readonly host = new Map<number, Set<bigint>>();
  restarts = 0;

  apply({ namespace, restart, batch }: PresenceEvents): void {
    if (restart || !this.host.has(namespace)) this.host.set(namespace, new Set());
    if (restart) this.restarts++;
    const present = this.host.get(namespace);
    for (const { change } of batch?.events ?? []) {
      if (change.case === 'cleared' || change.case === undefined) throw new Error('not told here');
      if (change.value.tier !== Tier.HOST) throw new Error('there is no other tier');
      for (const hash of unpackHashes(change.value.sequenceHashes))
        change.case === 'stored' ? present?.add(hash) : present?.delete(hash);
    }
  }

  of(namespace: number): bigint[] {
    return [...(this.host.get(namespace) ?? [])].toSorted();
  }
}

function hashes(prompt: string, count: number): bigint[] {
  return Array.from({ length: count }, (_, index) => hashOf(prompt, index)).toSorted();
}

describe('events of presence', () => {
  let kvbm: TestKvbm;

  beforeEach(async () => {
    kvbm = await new TestKvbm().start();
  });
  afterEach(() => kvbm.close());

  function believedBy(worker: TestWorker): Believed {
    const believed = new Believed();
    for (const { message } of worker.messages) if (message.case === 'events') believed.apply(message.value);
    return believed;
  }

  it('tell a worker of the namespaces that it opened, from the beginning', async () => {
    const [writer, follower] = [await kvbm.attach(), await kvbm.attach({ events: true })];
    const foreign = await writer.open('foreign');
    await writer.store('x', 0, 1, { namespace: foreign });
    await writer.store('a', 0, 3);
    await follower.told(() => believedBy(follower).of(follower.namespace).length === 3);
    await kvbm.client.evict({ tier: BlockTier.HOST, count: 2n });
    await follower.told(() => believedBy(follower).of(follower.namespace).length < 3);
    await follower.told(() => believedBy(follower).of(follower.namespace).join() === hashes('a', 2).join());
    expect([...believedBy(follower).host.keys()]).to.deep.equal([follower.namespace]);
    expect(await follower.open('foreign')).to.equal(foreign);
    await follower.told(() => believedBy(follower).host.has(foreign));
    const late = await kvbm.attach({ events: true });
    await late.told(() => believedBy(late).of(late.namespace).join() === hashes('a', 2).join());
  });

  it('begin with a snapshot for who watches, and name the model', async () => {
    const writer = await kvbm.attach();
    const other = await writer.open('salt', 'm');
    await writer.store('a', 0, 2);
    const believed = new Believed();
    const stop = new AbortController();
    const watching = (async () => {
      for await (const { events, model } of kvbm.client.watchEvents({ model: 'm' }, { signal: stop.signal })) {
        expect(model).to.equal('m');
        if (events !== undefined) believed.apply(events);
        if (believed.of(other).length === 1 && believed.of(writer.namespace).length === 4) break;
      }
    })();
    await writer.store('a', 2, 2);
    await writer.store('b', 0, 1, { namespace: other });
    await watching;
    expect(believed.of(writer.namespace)).to.deep.equal(hashes('a', 4));
    stop.abort();
  });

  it('are bounded: who reads too slowly gets a snapshot, and too many are refused', async () => {
    await kvbm.stop();
    await kvbm.start({ eventLimit: 16, maxWatchers: 1, hostMib: 4, discard: true });
    const writer = await kvbm.attach();
    const stop = new AbortController();
    const messages = kvbm.client.watchEvents({}, { signal: stop.signal })[Symbol.asyncIterator]();
    const believed = new Believed();
    await writer.store('first', 0, 1);
    const hear = async (): Promise<void> => {
      const { value } = await messages.next();
      if (value?.events !== undefined) believed.apply(value.events);
    };
    while (believed.of(writer.namespace).length === 0) await hear();
    const { restarts } = believed;
    for (let round = 0; round < 6; round++) await writer.store(`p${round}`, 0, 30);
    const wanted = [
      ...hashes('first', 1),
      ...[0, 1, 2, 3, 4, 5].flatMap((round) => hashes(`p${round}`, 30)),
    ].toSorted();
    while (believed.of(writer.namespace).join() !== wanted.join()) await hear();
    expect(believed.restarts).to.be.greaterThan(restarts);
    expect(await kvbm.counter('event_overflows_total')).to.be.greaterThan(0);
    const second = kvbm.client.watchEvents({})[Symbol.asyncIterator]();
    expect(await refusal(second.next())).to.equal('overloaded');
    stop.abort();
    await messages.next().catch(() => {});
  });

  it('agree with what is there after a random history, also over a restart', async () => {
    const writer = await kvbm.attach();
    const follower = await kvbm.attach({ events: true });
    let state = 7;
    const below = (limit: number): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return (state >>> 8) % limit;
    };
    for (let step = 0; step < 60; step++) {
      await writer.store(`p${below(12)}`, 0, 1 + below(8));
      if (below(4) === 0) await kvbm.client.evict({ tier: BlockTier.HOST, count: BigInt(1 + below(5)) });
    }
    const there = async (): Promise<string> => {
      const found: bigint[] = [];
      for await (const { blocks } of kvbm.client.listBlocks({}))
        found.push(...blocks.map((block) => block.sequenceHash));
      return found.toSorted().join();
    };
    const all = await there();
    await follower.told(() => believedBy(follower).of(follower.namespace).join() === all);
    await kvbm.stop();
    await kvbm.start();
    const again = await kvbm.attach({ events: true });
    expect(await there()).to.equal(all);
    await again.told(() => believedBy(again).of(again.namespace).join() === all);
  });
});
