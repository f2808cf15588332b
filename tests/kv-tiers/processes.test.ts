import { rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { Random } from '#core/kv-index/testing/random.ts';
import { InstanceState } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { skippedBecause, smolLm2 } from '#native/llamacpp/testing/model.ts';
import { until } from '#tests/support/until.ts';
import { attached, type Generated, Machine, type TestProcess, type WorkerProcess } from './processes.ts';
import { corruptSlabs } from './spoil.ts';
import { promptOf } from './tiered-worker.ts';

const blockSize = 16;
const outputTokens = 24;

/** Bytes of KV are real and checked, tokens a function of the prefix: what is wrong anywhere makes requests fail or differ. */
const engine = {
  ...{ model: 'synthetic', blockSize, kvBlockBytes: 16_384, meanOutputTokens: 0 },
  ...{ kvBlocks: 160, stepMs: 1, prefillTokensPerSecond: 200_000, maxSequences: 64 },
};

describe('KV tiers of worker processes', function () {
  this.timeout(180_000);
  let machine: Machine;
  let kvbm: TestProcess;
  let a: WorkerProcess;
  let b: WorkerProcess;
  const prompts = Array.from({ length: 96 }, (_, i) => promptOf(i % 8, i % 6, 80 + (i % 9) * 16));
  let expected: readonly Generated[];

  before(async () => {
    await using alone = new Machine();
    const plain = await alone.worker('mocker', { ...engine, kvBlocks: 8192, kvbm: 'off' });
    expected = await Promise.all(prompts.map((prompt) => plain.generate(prompt, outputTokens)));
  });

  afterEach(async function () {
    const outputs = [kvbm, a, b].map(({ process }) => process.output.slice(-2000));
    if (this.currentTest?.state === 'failed') process.stderr.write(outputs.join('\n────\n'));
    await machine[Symbol.asyncDispose]();
  });

  const below = () => ({
    diskDir: path.join(machine.folder, 'disk'),
    diskMib: 64,
    objectStore: `file:${path.join(machine.folder, 'objects')}`,
  });

  async function start(o: { readonly lower?: boolean; readonly hostMib?: number } = {}): Promise<void> {
    machine = new Machine();
    kvbm = await machine.kvbm({ hostMib: o.hostMib ?? 8, ...(o.lower === true && below()) });
    [a, b] = await Promise.all([machine.worker('mocker', engine), machine.worker('mocker', engine)]);
    await attached(a, b);
  }

  /** Runs every prompt on both workers, 64 at once, and compares. */
  async function load(rounds: number): Promise<void> {
    const orders = Array.from({ length: rounds * prompts.length }, (_, i) => i % prompts.length);
    const lane = async (worker: WorkerProcess): Promise<void> => {
      for (let at = orders.shift(); at !== undefined; at = orders.shift()) {
        const { tokens } = await worker.generate(prompts[at] ?? [], outputTokens);
        expect(tokens).to.deep.equal(expected[at]?.tokens);
      }
    };
    await Promise.all(Array.from({ length: 64 }, (_, i) => lane(i % 2 === 0 ? a : b)));
  }

  async function onboarded(tier?: string): Promise<number> {
    const labels = tier === undefined ? {} : { tier };
    const counts = [a, b].map((worker) => worker.metric('stator_worker_kv_onboarded_blocks_total', labels));
    return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
  }

  async function pause(one: TestProcess, ms: number): Promise<void> {
    one.signal('SIGSTOP');
    await delay(ms);
    one.signal('SIGCONT');
  }

  async function wrongBytes(): Promise<number> {
    const labels = { reason: 'wrong_bytes' };
    const counts = [a, b].map((worker) => worker.metric('stator_worker_kv_onboard_dropped_blocks_total', labels));
    return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
  }

  async function nothingIsHeld(): Promise<void> {
    for (const worker of [a, b]) {
      await until('nothing is held', async () => {
        const names = ['kv_holding', 'kv_fetching', 'kv_onboarding', 'kv_offload_waiting_blocks', 'running_sequences'];
        const counts = await Promise.all(names.map((name) => worker.metric(`stator_worker_${name}`)));
        const active = await worker.metric('stator_worker_kv_blocks', { state: 'active' });
        return counts.every((count) => count === 0) && active === 0;
      });
    }
  }

  /** Asks again and again until a tier has given more blocks: when blocks go down, and who wants them then, is chance. */
  async function loadFrom(tier?: string, before = 0): Promise<void> {
    for (let rounds = 0; rounds < 12 && (await onboarded(tier)) <= before; rounds++) await load(1);
    expect(await onboarded(tier), tier).to.be.above(before);
  }

  it('are byte-exact at 64 requests at once, under eviction pressure in every tier', async () => {
    await start({ lower: true, hostMib: 2 });
    await load(3);
    for (const tier of ['host', 'disk']) await loadFrom(tier);
    await nothingIsHeld();
    expect(await wrongBytes()).to.equal(0);
    // What is gone from memory and disk is in the object store.
    await kvbm.kill();
    const { objectStore } = below();
    for (const folder of ['slabs', 'disk']) await rm(path.join(machine.folder, folder), { recursive: true });
    kvbm = await machine.kvbm({ hostMib: 4, objectStore });
    await attached(a, b);
    await load(1);
    await loadFrom('object');
    await nothingIsHeld();
    expect(await wrongBytes()).to.equal(0);
  });

  it('outlive a block manager that is killed and restarted', async () => {
    await start();
    let isOver = false;
    const loading = (async () => {
      while (!isOver) await load(1);
    })();
    loading.catch(() => {});
    await until('blocks were onboarded', async () => (await onboarded()) > 50);
    for (let life = 0; life < 2; life++) {
      await kvbm.kill();
      await delay(300);
      kvbm = await machine.kvbm();
      const before = await onboarded();
      await attached(a, b);
      await until('blocks are onboarded again', async () => (await onboarded()) > before);
    }
    isOver = true;
    await loading;
    await load(1);
    await nothingIsHeld();
    expect(await wrongBytes()).to.equal(0);
  });

  it('stopped while they write, and woken, spoil nothing', async () => {
    await start();
    const loading = Promise.allSettled([load(4)]);
    for (let times = 0; times < 6; times++) {
      await delay(150);
      b.signal('SIGSTOP');
      await delay(600);
      b.signal('SIGCONT');
    }
    expect((await loading).map(({ status }) => status)).to.deep.equal(['fulfilled']);
    await attached(a, b);
    await load(1);
    await nothingIsHeld();
    expect(await wrongBytes()).to.equal(0);
  });

  it('compute while the block manager hangs, and use it again', async () => {
    await start();
    await load(1);
    kvbm.signal('SIGSTOP');
    await load(1);
    kvbm.signal('SIGCONT');
    await attached(a, b);
    await loadFrom(undefined, await onboarded());
    await nothingIsHeld();
    expect(await wrongBytes()).to.equal(0);
  });

  it('killed, leave a block manager that serves the others', async () => {
    await start();
    let isKilled = false;
    // As long as it takes: which blocks leave the engines in time for others to want them is chance.
    const loading = (async () => {
      while (!isKilled) await load(1);
    })().catch(() => {});
    await until('blocks were onboarded', async () => (await onboarded()) > 50);
    await b.kill();
    isKilled = true;
    await loading;
    b = await machine.worker('mocker', engine);
    await attached(a, b);
    await load(1);
    await nothingIsHeld();
    expect(await wrongBytes()).to.equal(0);
  });

  it('stay right under faults in random order, with bytes in memory that change by themselves', async () => {
    await start({ lower: true, hostMib: 4 });
    const random = new Random(7);
    const faults: readonly (() => Promise<void>)[] = [
      async () => {
        await kvbm.kill();
        kvbm = await machine.kvbm({ hostMib: 4, ...below() });
      },
      () => pause(kvbm, 400),
      () => pause(a, 300),
      () => pause(b, 300),
      async () => corruptSlabs(path.join(machine.folder, 'slabs'), random, 0.1),
      async () => corruptSlabs(path.join(machine.folder, 'slabs'), random, 0.1),
      // The block manager writes there meanwhile.
      () => rm(path.join(machine.folder, 'objects'), { recursive: true, force: true, maxRetries: 50, retryDelay: 10 }),
    ];
    let loading = true;
    const all = load(8).finally(() => {
      loading = false;
    });
    const breaking = (async () => {
      for (let fault = 0; fault < 16 && loading; fault++) {
        await faults[random.below(faults.length)]?.();
        await delay(random.below(200));
      }
    })();
    await all;
    await breaking;
    await attached(a, b);
    await load(1);
    // And for certain: whatever comes from memory now is wrong.
    for (let rounds = 0; rounds < 12 && (await wrongBytes()) === 0; rounds++) {
      corruptSlabs(path.join(machine.folder, 'slabs'), random, 1);
      await load(1);
    }
    expect(await wrongBytes()).to.be.above(0);
    await nothingIsHeld();
  });

  it(`attach each engine of a process${skippedBecause}`, async function () {
    if (smolLm2 === undefined) return this.skip();
    await start({ hostMib: 64 });
    const names = { model: `${smolLm2},${smolLm2}`, modelName: 'one,other' };
    const both = await machine.worker('llamacpp', { ...names, contextLength: 512, kvbmMode: 'required' });
    await until('both engines are attached', async () => (await both.metric('stator_worker_kv_tiers_attached')) === 2);
    expect(both.process.output).not.to.contain('cannot be used');
  });

  it('say what they do without, and take no work where they must not do without it', async () => {
    await start();
    const strict = await machine.worker('mocker', { ...engine, kvbmMode: 'required' });
    await attached(strict);
    const infoOf = async (worker: WorkerProcess) => (await worker.rpc.client.getEngineInfo({})).instance;
    const becomes = (worker: WorkerProcess, state: InstanceState, isDegraded: boolean): Promise<unknown> =>
      until(`a worker is in state ${state}`, async () => {
        const info = await infoOf(worker);
        return info?.state === state && (info.degraded['kvbm'] !== undefined) === isDegraded;
      });
    await becomes(a, InstanceState.READY, false);
    await becomes(strict, InstanceState.READY, false);
    await kvbm.kill();
    await becomes(a, InstanceState.READY, true);
    await becomes(strict, InstanceState.UNHEALTHY, true);
    expect((await strict.generate(prompts[0] ?? [], outputTokens)).tokens).to.deep.equal(expected[0]?.tokens);
    kvbm = await machine.kvbm();
    await attached(a, b, strict);
    await becomes(strict, InstanceState.READY, false);
    expect((await infoOf(strict))?.degraded).to.deep.equal({});
  });
});
