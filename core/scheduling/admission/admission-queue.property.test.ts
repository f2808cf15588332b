import { expect } from 'chai';
import { type AdmissionPort, AdmissionQueue } from './admission-queue.ts';
import type { PolicyClass, PolicyProfile } from './policy-class.ts';
import { policyScore } from './waiting.ts';

/** A small generator that repeats (mulberry32). */
function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

const classes: readonly PolicyClass[] = [
  { name: 'fcfs', queuePolicy: 'fcfs', quantum: 300, prefillBusyThreshold: 0 },
  { name: 'wspt', queuePolicy: 'wspt', quantum: 40, prefillBusyThreshold: 0 },
  { name: 'lcfs', queuePolicy: 'lcfs', quantum: 1, prefillBusyThreshold: 0 },
];

function profileWith(count: number): PolicyProfile {
  const used = classes.slice(0, count);
  return {
    classes: used,
    explicit: new Map(used.map(({ name }, index) => [name, index])),
    families: new Map([['default', [0]]]),
    defaultFamily: 'default',
    bucketStarts: [0],
  };
}

/** What a test keeps of a request. Lane `any` may use every worker, lane `w2` only worker 2, lane `w0w1` these two. */
interface Job {
  readonly id: number;
  readonly owner: string;
  readonly classIndex: number;
  readonly lane: string;
  readonly workers: readonly number[];
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly priority: number;
  readonly strictPriority: number;
  readonly timeoutMs: number;
  readonly deadlineMs: number | undefined;
  readonly arrivedMs: number;
}

const lanes: Readonly<Record<string, readonly number[]>> = { any: [0, 1, 2, 3], w2: [2], w3: [3], w0w1: [0, 1] };
const threshold = 500;

/** The queue as its description reads: lists that are sorted and searched, and rounds that are walked. */
class NaiveQueue {
  readonly waiting = new Set<Job>();
  readonly #deficits: number[];
  #turn = 0;
  #granted = false;

  constructor(count: number) {
    this.#deficits = Array.from({ length: count }, () => 0);
  }

  get classCount(): number {
    return this.#deficits.length;
  }

  next(canGo: (job: Job) => boolean): Job | undefined {
    const heads = this.#deficits.map((_, index) => this.#inOrder(index).find(canGo));
    if (heads.every((head) => head === undefined)) return undefined;
    for (;;) {
      const index = this.#turn;
      const head = heads[index];
      if (head !== undefined) {
        if (!this.#granted) this.#deficits[index] = (this.#deficits[index] ?? 0) + (classes[index]?.quantum ?? 0);
        this.#granted = true;
        if (costOf(head) <= (this.#deficits[index] ?? 0)) {
          this.#deficits[index] = (this.#deficits[index] ?? 0) - costOf(head);
          this.remove(head);
          return head;
        }
      }
      this.#pass();
    }
  }

  remove(job: Job): void {
    this.waiting.delete(job);
    if (this.#inOrder(job.classIndex).length > 0) return;
    this.#deficits[job.classIndex] = 0;
    if (this.#turn === job.classIndex) this.#pass();
  }

  #pass(): void {
    this.#turn = (this.#turn + 1) % this.#deficits.length;
    this.#granted = false;
  }

  #inOrder(classIndex: number): Job[] {
    return [...this.waiting].filter((job) => job.classIndex === classIndex).sort(compareJobs);
  }
}

function costOf({ promptTokens, cachedTokens }: Job): number {
  return Math.max(1, promptTokens - Math.min(promptTokens, cachedTokens));
}

function scoreOf(job: Job): number {
  return policyScore(classes[job.classIndex]?.queuePolicy ?? 'fcfs', job.priority, job.arrivedMs, costOf(job));
}

function compareJobs(a: Job, b: Job): number {
  const byStrict = b.strictPriority - a.strictPriority;
  const aDeadline = a.deadlineMs ?? Number.MAX_SAFE_INTEGER;
  const bDeadline = b.deadlineMs ?? Number.MAX_SAFE_INTEGER;
  return byStrict || aDeadline - bDeadline || scoreOf(b) - scoreOf(a) || a.id - b.id;
}

type Outcome = 'dispatched' | 'cancelled' | 'expired' | 'rejected';

/** Workers that fill up and finish, the queue before them, and its twin. */
class World {
  readonly #random: (below: number) => number;
  readonly #active = [0, 0, 0, 0];
  readonly #running: { readonly worker: number; readonly tokens: number }[] = [];
  readonly #queue: AdmissionQueue<Job>;
  readonly #twin: NaiveQueue;
  readonly #jobs = new Map<number, 'waiting' | Outcome>();
  /** What the queue told since it was last compared. */
  #told: Job[] = [];
  #nowMs = 0;
  #nextId = 0;

  constructor(seed: number, classCount: number) {
    this.#random = seeded(seed);
    this.#twin = new NaiveQueue(classCount);
    const profile = profileWith(classCount);
    const port: AdmissionPort<Job> = {
      profile: () => profile,
      workers: () => 4,
      allBusy: (job) => !this.#canGo(job),
      cachedTokens: ({ cachedTokens }) => cachedTokens,
      dispatch: (job) => {
        this.#settle(job, 'dispatched');
        this.#told.push(job);
        this.#place(job);
      },
      expired: (job, because) => {
        expect(because).to.equal(dueOf(job) === job.deadlineMs ? 'deadline' : 'timeout');
        expect(dueOf(job)).to.be.at.most(this.#nowMs);
        this.#settle(job, 'expired');
        this.#twin.remove(job);
      },
    };
    const limits = { maxWaiting: 40, maxLanes: 8, maxDispatches: 1000, refreshAfterMs: 1000 };
    this.#queue = new AdmissionQueue(port, limits);
  }

  step(): void {
    this.#nowMs += this.#random(20);
    const action = this.#random(100);
    if (action < 52) this.#submit();
    else if (action < 85) this.#finish();
    else if (action < 93) this.#cancel();
    else if (action < 98) this.#queue.expire(this.#nowMs);
    else this.#endOwner(['a', 'b', 'c'][this.#random(3)] ?? 'a');
    expect(this.#queue.size).to.equal(this.#twin.waiting.size);
  }

  /** Nothing is left, in no table, and every request ended in exactly one way. */
  end(): void {
    for (const owner of ['a', 'b', 'c']) this.#endOwner(owner);
    expect(this.#queue.size).to.equal(0);
    expect(this.#queue.promptTokens).to.equal(0);
    expect(this.#queue.nextExpiryMs).to.equal(undefined);
    for (const { requests, promptTokens, cachedTokens, deficitTokens } of this.#queue.report())
      expect([requests, promptTokens, cachedTokens, deficitTokens]).to.deep.equal([0, 0, 0, 0]);
    const outcomes = Map.groupBy(this.#jobs.values(), (outcome) => outcome);
    expect([...outcomes.keys()].sort()).to.deep.equal(['cancelled', 'dispatched', 'expired', 'rejected']);
    for (const jobs of outcomes.values()) expect(jobs.length).to.be.greaterThan(100);
  }

  #submit(): void {
    const classIndex = this.#random(classes.length) % this.#twin.classCount;
    const lane = Object.keys(lanes)[this.#random(4)] ?? 'any';
    const maybe = <V>(value: V): V | undefined => (this.#random(8) === 0 ? value : undefined);
    const job: Job = {
      id: this.#nextId++,
      owner: ['a', 'b', 'c'][this.#random(3)] ?? 'a',
      classIndex,
      lane,
      workers: lanes[lane] ?? [],
      promptTokens: this.#random(400),
      cachedTokens: this.#random(3) === 0 ? this.#random(500) : 0,
      priority: this.#random(4) - 1,
      strictPriority: this.#random(10) === 0 ? 1 : 0,
      timeoutMs: maybe(1 + this.#random(3000)) ?? 0,
      deadlineMs: maybe(this.#nowMs + 1 + this.#random(3000)),
      arrivedMs: this.#nowMs,
    };
    const policyClass = classes[classIndex]?.name ?? '';
    const worker = job.workers.length === 1 ? BigInt(job.workers[0] ?? 0) : undefined;
    const request = { ...job, worker, requestId: `${job.id}`, model: 'm', payload: job, policyClass };
    const free = this.#canGo(job);
    const backlog = [...this.#twin.waiting].filter((other) => other.classIndex === classIndex);
    this.#jobs.set(job.id, 'waiting');
    this.#told = [];
    if (free && backlog.length === 0) {
      expect(this.#queue.submit(request, this.#nowMs)).to.equal('dispatched');
      expect(this.#told).to.deep.equal([job]);
      return;
    }
    const outcome = this.#queue.submit(request, this.#nowMs);
    if (typeof outcome === 'object') {
      expect(outcome.kind).to.equal('all_requests');
      expect(this.#twin.waiting.size).to.equal(40);
      this.#settle(job, 'rejected');
      return;
    }
    this.#twin.waiting.add(job);
    if (free || outcome === 'dispatched') this.#compare();
    else expect(this.#told).to.deep.equal([]);
  }

  #finish(): void {
    const [ended] = this.#running.splice(this.#random(Math.max(1, this.#running.length)), 1);
    if (ended === undefined) return;
    this.#active[ended.worker] = (this.#active[ended.worker] ?? 0) - ended.tokens;
    this.#told = [];
    const where = [{}, { model: 'm' }, { workers: new Set([BigInt(ended.worker)]) }][this.#random(3)] ?? {};
    expect(this.#queue.retry(this.#nowMs, where)).to.equal(false);
    this.#compare();
  }

  /** The twin, on the workers as they were, must have let the same go in the same order. */
  #compare(): void {
    const told = this.#told;
    const placed = this.#running.splice(this.#running.length - told.length);
    for (const { worker, tokens } of placed) this.#active[worker] = (this.#active[worker] ?? 0) - tokens;
    const expected: number[] = [];
    for (;;) {
      const job = this.#twin.next((waiting) => this.#canGo(waiting));
      if (job === undefined) break;
      expected.push(job.id);
      this.#place(job);
    }
    expect(told.map(({ id }) => id)).to.deep.equal(expected);
  }

  #cancel(): void {
    const waiting = [...this.#twin.waiting];
    const job = waiting[this.#random(Math.max(1, waiting.length))];
    if (job === undefined) return;
    expect(this.#queue.cancel(job.owner, `${job.id}`)).to.not.equal(undefined);
    expect(this.#queue.cancel(job.owner, `${job.id}`)).to.equal(undefined);
    this.#settle(job, 'cancelled');
    this.#twin.remove(job);
  }

  #endOwner(owner: string): void {
    const own = [...this.#twin.waiting].filter((job) => job.owner === owner);
    const ended = this.#queue.endOwner(owner);
    expect(ended.map(({ id }) => id).sort()).to.deep.equal(own.map(({ id }) => id).sort());
    for (const job of ended) {
      this.#settle(job, 'cancelled');
      this.#twin.remove(job);
    }
  }

  #settle(job: Job, as: Outcome): void {
    expect(this.#jobs.get(job.id)).to.equal('waiting');
    this.#jobs.set(job.id, as);
  }

  #canGo({ workers }: Job): boolean {
    return workers.some((worker) => (this.#active[worker] ?? 0) <= threshold);
  }

  #place(job: Job): void {
    const worker = job.workers.find((candidate) => (this.#active[candidate] ?? 0) <= threshold) ?? 0;
    this.#active[worker] = (this.#active[worker] ?? 0) + job.promptTokens;
    this.#running.push({ worker, tokens: job.promptTokens });
  }
}

function dueOf({ arrivedMs, timeoutMs, deadlineMs }: Job): number {
  return Math.min(timeoutMs > 0 ? arrivedMs + timeoutMs : Infinity, deadlineMs ?? Infinity);
}

describe('AdmissionQueue against a twin that sorts', () => {
  for (const classCount of [1, 2, 3]) {
    it(`agrees in every one of 100,000 steps with ${classCount} classes`, () => {
      const world = new World(classCount, classCount);
      for (let i = 0; i < 100_000; i++) world.step();
      world.end();
    }).timeout(120_000);
  }
});
