import { expect } from 'chai';
import { type AdmissionLimits, type AdmissionPort, AdmissionQueue, type Waited } from './admission-queue.ts';
import { type PolicyClass, type PolicyProfile, singleClassProfile } from './policy-class.ts';
import type { AdmissionRequest } from './waiting.ts';

/** A profile whose classes are named explicitly; the first is the default. */
function profileOf(...classes: (Partial<PolicyClass> & { name: string })[]): PolicyProfile {
  const full = classes.map(
    (policyClass): PolicyClass => ({ queuePolicy: 'fcfs', quantum: 1, prefillBusyThreshold: 0, ...policyClass }),
  );
  return {
    classes: full,
    explicit: new Map(full.map(({ name }, index) => [name, index])),
    families: new Map([['default', [0]]]),
    defaultFamily: 'default',
    bucketStarts: [0],
  };
}

/** A router with room for some requests in each lane, and a record of what happened. */
class Bench {
  readonly log: string[] = [];
  readonly waited = new Map<string, Waited>();
  readonly queue: AdmissionQueue<AdmissionRequest<string>['payload']>;
  /** How many may go; by lane where it has its own. */
  room = 0;
  readonly laneRoom = new Map<string, number>();
  readonly cached = new Map<string, number>();
  cachedAsked = 0;
  busyAsked = 0;
  nowMs = 0;
  readonly #lanes = new Map<string, string>();

  constructor(profile: PolicyProfile, limits: Partial<AdmissionLimits> = {}) {
    const port: AdmissionPort<string> = {
      profile: () => profile,
      workers: () => 2,
      allBusy: (payload) => {
        this.busyAsked++;
        return (this.laneRoom.get(this.#lanes.get(payload) ?? '') ?? this.room) === 0;
      },
      cachedTokens: (payload) => {
        this.cachedAsked++;
        return this.cached.get(payload) ?? 0;
      },
      dispatch: (payload, waited) => {
        const lane = this.#lanes.get(payload) ?? '';
        const room = this.laneRoom.get(lane);
        if (room === undefined) this.room = Math.max(0, this.room - 1);
        else this.laneRoom.set(lane, Math.max(0, room - 1));
        this.log.push(payload);
        this.waited.set(payload, waited);
      },
      expired: (payload, because, waited) => {
        this.log.push(`${payload}:${because}`);
        this.waited.set(payload, waited);
      },
    };
    const defaults = { maxWaiting: 1000, maxLanes: 8, maxDispatches: 100, refreshAfterMs: 10_000 };
    this.queue = new AdmissionQueue(port, { ...defaults, ...limits });
  }

  submit(payload: string, extra: Partial<AdmissionRequest<string>> = {}) {
    this.#lanes.set(payload, extra.lane ?? '');
    const neutral = { owner: 'g', requestId: payload, model: 'm', promptTokens: 100, policyClass: '', priority: 0 };
    const request = { ...neutral, payload, strictPriority: 0, lane: '', timeoutMs: 0, ...extra };
    return this.queue.submit(request, this.nowMs);
  }

  /** Lets so many go; returns who went. */
  release(count: number): string[] {
    const from = this.log.length;
    this.room = count;
    this.queue.retry(this.nowMs);
    this.room = 0;
    return this.log.slice(from);
  }
}

const rejectionOf = (kind: string, limit: number, actual: number) => ({ kind, policyClass: 'a', limit, actual });

describe('AdmissionQueue', () => {
  it('dispatches at once while a worker is free, and never waits without a threshold', () => {
    const bench = new Bench(profileOf({ name: 'a' }));
    bench.room = 1;
    expect(bench.submit('one')).to.equal('dispatched');
    expect(bench.submit('two')).to.equal('waiting');
    expect(bench.log).to.deep.equal(['one']);
    expect(bench.waited.get('one')).to.deep.include({ policyClass: 'a', queued: false, waitedMs: 0 });

    const open = new Bench(singleClassProfile({ queuePolicy: 'fcfs' }));
    expect(open.submit('one')).to.equal('dispatched');
    expect(open.busyAsked + open.cachedAsked).to.equal(0);
  });

  it('lets nobody by who came later', () => {
    const bench = new Bench(profileOf({ name: 'a' }));
    bench.submit('one');
    bench.room = 1;
    bench.nowMs = 1;
    expect(bench.submit('two')).to.equal('waiting');
    expect(bench.release(2)).to.deep.equal(['one', 'two']);
  });

  it('serves whoever is first when it learns from a newcomer that a worker is free', () => {
    const bench = new Bench(profileOf({ name: 'a' }));
    bench.submit('one');
    bench.room = 1;
    expect(bench.submit('pinned', { lane: 'w1' })).to.equal('waiting');
    expect(bench.log).to.deep.equal(['one']);
  });

  it('fcfs counts priority as seconds of earlier arrival, and a negative one as none', () => {
    const bench = new Bench(profileOf({ name: 'a' }));
    for (const [name, atMs, priority] of [
      ['early', 0, 0],
      ['late', 5000, 0],
      ['urgent', 6000, 50],
      ['negative', 2000, -100],
      ['nearly', 7000, 6.5],
    ] as const) {
      bench.nowMs = atMs;
      bench.submit(name, { priority });
    }
    expect(bench.release(9)).to.deep.equal(['urgent', 'early', 'nearly', 'negative', 'late']);
  });

  it('lcfs turns the order around', () => {
    const bench = new Bench(profileOf({ name: 'a', queuePolicy: 'lcfs' }));
    for (const name of ['one', 'two', 'three']) {
      bench.nowMs += 1000;
      bench.submit(name, { priority: name === 'one' ? 1.5 : 0 });
    }
    expect(bench.release(9)).to.deep.equal(['three', 'one', 'two']);
  });

  it('wspt goes by uncached prompt tokens, at least one, weighted by priority', () => {
    const bench = new Bench(profileOf({ name: 'a', queuePolicy: 'wspt' }));
    bench.cached.set('long-cached', 960).set('all-cached', 5000);
    bench.submit('short', { promptTokens: 100 });
    bench.submit('long', { promptTokens: 1024 });
    bench.submit('long-cached', { promptTokens: 1024 });
    bench.submit('all-cached', { promptTokens: 512 });
    bench.submit('weighty', { promptTokens: 1024, priority: 12 });
    expect(bench.release(9)).to.deep.equal(['all-cached', 'long-cached', 'weighty', 'short', 'long']);
  });

  it('puts strict priority before everything, and deadlines before scores', () => {
    const bench = new Bench(profileOf({ name: 'a' }));
    bench.submit('plain', { priority: 1000 });
    bench.submit('later', { deadlineMs: 9000 });
    bench.submit('sooner', { deadlineMs: 8000 });
    bench.submit('strict', { strictPriority: 1 });
    expect(bench.release(9)).to.deep.equal(['strict', 'sooner', 'later', 'plain']);
  });

  it('shares between classes by quantum', () => {
    const bench = new Bench(profileOf({ name: 'a', quantum: 300 }, { name: 'b', quantum: 100 }));
    for (let i = 0; i < 6; i++) bench.submit(`a${i}`, { policyClass: 'a' });
    for (let i = 0; i < 6; i++) bench.submit(`b${i}`, { policyClass: 'b' });
    expect(bench.release(8)).to.deep.equal(['a0', 'a1', 'a2', 'b0', 'a3', 'a4', 'a5', 'b1']);
    expect(bench.queue.report()).to.deep.equal([
      { model: 'm', policyClass: 'a', requests: 0, promptTokens: 0, cachedTokens: 0, deficitTokens: 0 },
      { model: 'm', policyClass: 'b', requests: 4, promptTokens: 400, cachedTokens: 0, deficitTokens: 0 },
    ]);
  });

  it('does not let a request whose own workers are busy hold up others', () => {
    const bench = new Bench(profileOf({ name: 'a' }));
    bench.laneRoom.set('w1', 0);
    bench.submit('pinned', { lane: 'w1', worker: 1n });
    bench.submit('free');
    expect(bench.release(1)).to.deep.equal(['free']);
    bench.laneRoom.set('w1', 1);
    bench.queue.retry(0, { workers: new Set([2n]) });
    expect(bench.log).to.deep.equal(['free']);
    bench.queue.retry(0, { workers: new Set([1n, 2n]) });
    expect(bench.log).to.deep.equal(['free', 'pinned']);
  });

  it('keeps order when it has more kinds of constraints than it tells apart', () => {
    const bench = new Bench(profileOf({ name: 'a' }), { maxLanes: 2 });
    for (const lane of ['x', 'y', 'z', 'x', 'u']) bench.submit(`${lane}${bench.queue.size}`, { lane });
    bench.laneRoom.set('z', 0);
    expect(bench.release(9)).to.deep.equal(['x0', 'y1', 'x3']);
    expect(bench.queue.cancel('g', 'z2')).to.not.equal(undefined);
    expect(bench.release(9)).to.deep.equal(['u4']);
  });

  it('rejects over the limits of a class for its workers, by what waits already', () => {
    const requests = new Bench(profileOf({ name: 'a', requestLimitPerWorker: 1 }));
    requests.submit('one');
    requests.submit('two');
    expect(requests.submit('three')).to.deep.equal(rejectionOf('requests', 2, 2));
    expect(requests.queue.size).to.equal(2);

    const tokens = new Bench(profileOf({ name: 'a', promptTokenLimitPerWorker: 50 }));
    expect(tokens.submit('huge', { promptTokens: 5000 })).to.equal('waiting');
    expect(tokens.submit('next')).to.deep.equal(rejectionOf('prompt_tokens', 100, 5000));

    const cached = new Bench(profileOf({ name: 'a', cachedTokenLimitPerWorker: 20 }));
    cached.cached.set('one', 64);
    cached.submit('one');
    expect(cached.submit('two')).to.deep.equal(rejectionOf('cached_tokens', 40, 64));

    const none = new Bench(profileOf({ name: 'a', requestLimitPerWorker: 0 }));
    expect(none.submit('one')).to.deep.equal(rejectionOf('requests', 0, 0));

    const all = new Bench(profileOf({ name: 'a' }), { maxWaiting: 1 });
    all.submit('one');
    expect(all.submit('two', { model: 'other' })).to.deep.equal(rejectionOf('all_requests', 1, 1));
  });

  it('gives up what waited too long, and says whether a timeout or a deadline passed', () => {
    const bench = new Bench(profileOf({ name: 'a' }));
    bench.submit('slow', { timeoutMs: 500 });
    bench.submit('due', { deadlineMs: 300, timeoutMs: 500 });
    bench.submit('patient');
    expect(bench.queue.nextExpiryMs).to.equal(300);
    bench.queue.expire(299);
    expect(bench.log).to.deep.equal([]);
    bench.queue.expire(500);
    expect(bench.log).to.deep.equal(['due:deadline', 'slow:timeout']);
    expect(bench.waited.get('slow')).to.deep.include({ queued: true, waitedMs: 500 });
    expect(bench.queue.nextExpiryMs).to.equal(undefined);
    expect(bench.release(9)).to.deep.equal(['patient']);
  });

  it('dispatches nothing whose time has passed', () => {
    const bench = new Bench(profileOf({ name: 'a' }));
    bench.room = 1;
    expect(bench.submit('late', { deadlineMs: 0 })).to.equal('expired');
    bench.room = 0;
    bench.submit('slow', { timeoutMs: 500 });
    bench.submit('patient');
    bench.nowMs = 500;
    expect(bench.release(1)).to.deep.equal(['slow:timeout', 'patient']);
    expect(bench.log[0]).to.equal('late:deadline');
  });

  it('says when what was known of caches is out of date', () => {
    const bench = new Bench(profileOf({ name: 'a' }));
    bench.submit('old');
    bench.nowMs = 4000;
    bench.submit('new');
    bench.nowMs = 10_001;
    bench.release(2);
    expect(bench.waited.get('old')?.overlapIsStale).to.equal(true);
    expect(bench.waited.get('new')?.overlapIsStale).to.equal(false);
    expect(bench.cachedAsked).to.equal(2);
  });

  it('takes back one request, or all of an owner', () => {
    const bench = new Bench(profileOf({ name: 'a' }));
    bench.submit('one', { owner: 'x' });
    bench.submit('two', { owner: 'y' });
    bench.submit('three', { owner: 'x' });
    expect(bench.queue.has('x', 'one')).to.equal(true);
    expect(bench.queue.cancel('y', 'two')).to.not.equal(undefined);
    expect(bench.queue.cancel('y', 'two')).to.equal(undefined);
    expect(bench.queue.endOwner('x')).to.deep.equal(['one', 'three']);
    expect(bench.queue.size + bench.queue.promptTokens).to.equal(0);
    expect(bench.release(9)).to.deep.equal([]);
  });

  it('tells where a request stands', () => {
    const bench = new Bench(profileOf({ name: 'a' }, { name: 'b' }));
    bench.submit('one', { promptTokens: 10 });
    bench.submit('other', { policyClass: 'b' });
    bench.submit('two', { promptTokens: 20 });
    bench.submit('three', { strictPriority: 2, promptTokens: 5 });
    const position = { policyClass: 'a', ahead: 2, promptTokensAhead: 15, waiting: 3 };
    expect(bench.queue.position('g', 'two')).to.deep.equal(position);
    expect(bench.queue.position('g', 'nobody')).to.equal(undefined);
  });

  it('tells where a request would stand, and adds nothing', () => {
    const bench = new Bench(profileOf({ name: 'a', queuePolicy: 'wspt' }));
    const request = { owner: 'g', requestId: 'x', model: 'm', payload: 'x', policyClass: '', lane: '' };
    const asked = { ...request, priority: 0, strictPriority: 0, timeoutMs: 0, promptTokens: 50 };
    bench.room = 1;
    expect(bench.queue.preview(asked, 0)).to.equal(null);
    bench.room = 0;
    const first = { policyClass: 'a', ahead: 0, promptTokensAhead: 0, waiting: 0 };
    expect(bench.queue.preview(asked, 0)).to.deep.equal(first);
    bench.submit('shorter', { promptTokens: 10 });
    bench.submit('longer', { promptTokens: 100 });
    const between = { policyClass: 'a', ahead: 1, promptTokensAhead: 10, waiting: 2 };
    expect(bench.queue.preview(asked, 0)).to.deep.equal(between);
    expect(bench.queue.size).to.equal(2);
    expect(bench.release(9)).to.deep.equal(['shorter', 'longer']);
  });

  it('orders by when a request says it arrived, which cannot be later than now', () => {
    for (const queuePolicy of ['fcfs', 'lcfs'] as const) {
      const bench = new Bench(profileOf({ name: 'a', queuePolicy }));
      bench.nowMs = 5000;
      bench.submit('now');
      bench.submit('before', { arrivedMs: 1000 });
      bench.submit('future', { arrivedMs: 99_000 });
      const order = queuePolicy === 'fcfs' ? ['before', 'now', 'future'] : ['now', 'future', 'before'];
      bench.nowMs = 6000;
      expect(bench.release(9)).to.deep.equal(order);
      expect(bench.waited.get('before')?.waitedMs).to.equal(1000);
    }
  });

  it('pauses after a number of dispatches and goes on when asked again', () => {
    const bench = new Bench(profileOf({ name: 'a' }), { maxDispatches: 2 });
    for (const name of ['one', 'two', 'three']) bench.submit(name);
    bench.room = 9;
    expect(bench.queue.retry(0)).to.equal(true);
    expect(bench.log).to.deep.equal(['one', 'two']);
    expect(bench.queue.retry(0)).to.equal(false);
    expect(bench.log).to.have.length(3);
  });

  it('keeps models apart and forgets those that nobody waits for', () => {
    const bench = new Bench(profileOf({ name: 'a' }));
    bench.submit('one', { model: 'x' });
    bench.submit('two', { model: 'y' });
    bench.room = 2;
    bench.queue.retry(0, { model: 'y' });
    expect(bench.log).to.deep.equal(['two']);
    bench.queue.forgetIdle();
    expect(bench.queue.report().map(({ model }) => model)).to.deep.equal(['x']);
  });
});
