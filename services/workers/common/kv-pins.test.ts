import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { pino } from 'pino';
import {
  FinishReason,
  type GenerateRequest,
  GenerateRequestSchema,
  UsageSchema,
} from '#gen/stator/engine/v1/generate_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Finished, StepBatch } from './engine.ts';
import type { KvHold, KvPrefix } from './engine-kv.ts';
import { KvPins } from './kv-pins.ts';

const blockTokens = 4;

class Bench {
  readonly holds: { readonly blocks: number; released: boolean }[] = [];
  readonly counts: string[] = [];
  /** Blocks of any prompt that are cached. */
  cached = 100;
  refuses: StatorError | undefined;
  nowMs = 0;
  readonly pins: KvPins;
  #next = 1;

  constructor(o: { maxBlocks?: number; maxPins?: number } = {}) {
    this.pins = new KvPins({
      prompts: () => ({ hold: (prefix) => this.#hold(prefix) }),
      blockTokens: () => blockTokens,
      maxBlocks: () => o.maxBlocks ?? 10,
      maxPins: o.maxPins ?? 10,
      maxSeconds: 100,
      metrics: () => ({
        kept: () => this.counts.push('kept'),
        refused: (why) => this.counts.push(`refused ${why}`),
        ended: (how) => this.counts.push(`ended ${how}`),
      }),
      log: pino({ level: 'silent' }),
      nowMs: () => this.nowMs,
    });
  }

  /** Runs a prompt of so many blocks, whose tokens begin with `first`, to its end. */
  async run(blocks: number, first: number, keepSeconds: number | undefined): Promise<void> {
    const handle = this.begin(blocks, first, keepSeconds);
    await this.end(handle);
  }

  begin(blocks: number, first: number, keepSeconds: number | undefined): number {
    const handle = this.#next++;
    this.pins.submitted(handle, request(blocks, first, keepSeconds));
    this.pins.stepped(
      step({ prefilled: [{ handle, cachedTokens: 0, queueUs: 0, prefillUs: 0, promptLogprobs: null }] }),
    );
    return handle;
  }

  async end(handle: number): Promise<void> {
    this.pins.stepped(step({ finished: [finishedOf(handle)] }));
    await turn();
  }

  at(seconds: number): void {
    this.nowMs = seconds * 1000;
    this.pins.expire();
  }

  get held(): number[] {
    return this.holds.filter(({ released }) => !released).map(({ blocks }) => blocks);
  }

  async #hold({ sequenceHashes }: KvPrefix): Promise<KvHold> {
    if (this.refuses !== undefined) throw this.refuses;
    const hold = { blocks: Math.min(this.cached, sequenceHashes.length), released: false };
    this.holds.push(hold);
    const release = (): void => {
      hold.released = true;
    };
    return { blocks: hold.blocks, release };
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function request(blocks: number, first: number, keepSeconds: number | undefined): GenerateRequest {
  const tokenIds = Array.from({ length: blocks * blockTokens + 1 }, (_, index) => (index === 0 ? first : 7));
  return create(GenerateRequestSchema, { tokenIds, cache: keepSeconds === undefined ? {} : { keepSeconds } });
}

function step(o: Partial<StepBatch>): StepBatch {
  const none = new Uint32Array();
  const nothing = { handles: none, tokenIds: none, prefilled: [], finished: [], logprobs: [], kvEvents: [] };
  return { ...nothing, forwardPass: null, ...o };
}

function finishedOf(handle: number): Finished {
  const usage = create(UsageSchema);
  return { handle, reason: FinishReason.STOP, stopTokenId: null, error: null, usage, handoff: null };
}

describe('prompts that are kept', () => {
  const open: Bench[] = [];
  const bench = (o?: ConstructorParameters<typeof Bench>[0]): Bench => {
    const made = new Bench(o);
    open.push(made);
    return made;
  };

  afterEach(() => {
    for (const one of open.splice(0)) one.pins.close();
  });

  it('are kept from their prefill until their time after the end is over', async () => {
    const b = bench();
    const handle = b.begin(3, 1, 30);
    await turn();
    expect(b.held).to.deep.equal([3]);
    b.at(1000);
    await b.end(handle);
    b.at(1029);
    expect(b.held).to.deep.equal([3]);
    b.at(1030);
    expect(b.held).to.deep.equal([]);
    expect(b.counts).to.deep.equal(['kept', 'ended expired']);
    expect([b.pins.pins, b.pins.blocks]).to.deep.equal([0, 0]);
  });

  it('are none where nobody asks, and no longer than the worker allows', async () => {
    const b = bench();
    await b.run(3, 1, undefined);
    expect(b.holds).to.have.length(0);
    await b.run(3, 1, 100_000);
    b.at(100);
    expect(b.held).to.deep.equal([]);
  });

  it('go over to the prompt that continues them, unless they would last longer', async () => {
    const b = bench();
    await b.run(2, 1, 50);
    await b.run(4, 1, 60);
    expect(b.held).to.deep.equal([4]);
    await b.run(5, 1, 10);
    expect(b.held).to.deep.equal([4, 5]);
    expect(b.pins.blocks).to.equal(5);
    b.at(10);
    expect(b.held).to.deep.equal([4]);
    expect(b.pins.blocks).to.equal(4);
  });

  it('end with the session that they were kept for', async () => {
    const b = bench();
    await b.run(2, 1, 50);
    await b.run(2, 9, 50);
    await b.run(4, 1, 0);
    expect(b.held).to.deep.equal([2]);
    expect(b.counts.at(-1)).to.equal('ended released');
  });

  it('take no more than their share: those that end soonest make room', async () => {
    const b = bench({ maxBlocks: 6 });
    await b.run(3, 1, 50);
    await b.run(3, 2, 20);
    await b.run(2, 3, 90);
    expect(b.held).to.deep.equal([3, 2]);
    expect(b.counts).to.include('ended room');
    await b.run(50, 4, 90);
    expect(b.held).to.deep.equal([6]);
    const running = b.begin(1, 4, 90);
    b.begin(6, 5, 90);
    await turn();
    await b.end(running);
    expect(b.pins.blocks).to.be.at.most(6);
  });

  it('are refused where only those of running sequences could make room', async () => {
    const b = bench({ maxPins: 1 });
    const running = b.begin(1, 1, 10);
    await turn();
    await b.run(1, 2, 10);
    expect(b.counts).to.deep.equal(['kept', 'refused too_many']);
    await b.end(running);
    await b.run(1, 2, 10);
    expect(b.counts).to.deep.equal(['kept', 'refused too_many', 'ended room', 'kept']);
  });

  it('are counted where the engine has no room or has lost them', async () => {
    const b = bench();
    b.refuses = new StatorError('overloaded', 'full');
    await b.run(1, 1, 10);
    b.refuses = undefined;
    b.cached = 0;
    await b.run(1, 1, 10);
    expect(b.counts).to.deep.equal(['refused no_room', 'refused evicted']);
    expect(b.held).to.deep.equal([]);
  });

  it('go when the cache is emptied or the worker ends', async () => {
    const b = bench();
    await b.run(2, 1, 50);
    b.pins.cleared();
    expect(b.held).to.deep.equal([]);
    await b.run(2, 1, 50);
    b.begin(2, 2, 50);
    b.pins.close();
    await turn();
    expect(b.held).to.deep.equal([]);
  });
});
