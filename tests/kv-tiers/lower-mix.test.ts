import { readdirSync } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { Random } from '#core/kv-index/testing/random.ts';
import type { KvbmConfig } from '#services/kvbm/config.ts';
import { TestKvbm, type TestWorker } from '#services/kvbm/kvbm.test-support.ts';
import { bucket, type ObjectServer, startVersitygw } from '#tests/support/object-servers.ts';
import { skip } from '#tests/support/skip.ts';
import { startTcpProxy, type TcpProxy } from '#tests/support/tcp-proxy.ts';
import { heldNothing } from './lower-support.ts';

/** Longer than any deadline in this test: what takes longer hangs. */
const hangMs = 20_000;

/** Prompts share their first blocks with others of the same family, as conversations do. */
interface Prompt {
  readonly name: string;
  readonly blocks: number;
}

describe('KV tiers under random faults', function () {
  this.timeout(180_000);
  let server: ObjectServer;
  let proxy: TcpProxy;
  let kvbm: TestKvbm;

  before(async function () {
    server = (await startVersitygw()) ?? skip(this, 'no versitygw on this machine: `npm test` builds it with go');
  });
  after(() => server?.stop());
  beforeEach(async () => {
    proxy = await startTcpProxy(server.port, { reset: false });
    kvbm = new TestKvbm();
  });
  afterEach(async () => {
    await kvbm.close();
    await proxy.close();
  });

  function settings(seed: number): Partial<KvbmConfig> {
    return {
      ...{ hostMib: 1, diskDir: path.join(kvbm.folder, 'disk'), diskMib: 4, diskSegmentMib: 1 },
      ...{ objectStore: `s3://${bucket}/mix-${seed}`, objectStoreEndpoint: `http://127.0.0.1:${proxy.port}` },
      ...{ objectStoreAccessKeyId: server.accessKeyId, objectStoreSecret: server.secret },
      ...{ objectStoreAttemptTimeoutMs: 300, objectStoreTimeoutMs: 1000, objectStoreMaxRetries: 1, findTimeoutMs: 300 },
      ...{ objectAbsentMs: 100, evictionPolicy: seed % 2 === 0 ? 'lru' : 'lineage' },
    };
  }

  async function spoilDisk(random: Random): Promise<void> {
    const folders = readdirSync(path.join(kvbm.folder, 'disk')).filter((name) => name.length === 32);
    const folder = path.join(kvbm.folder, 'disk', folders[0] ?? '');
    const files = folders.length === 0 ? [] : readdirSync(folder).filter((name) => name.endsWith('.kv'));
    if (files.length === 0) return;
    const file = await open(path.join(folder, files[random.below(files.length)] ?? ''), 'r+');
    const { size } = await file.stat();
    for (let at = 0; at < 20; at++) await file.write(Buffer.from([random.below(256)]), 0, 1, random.below(size));
    await file.close();
  }

  async function timely<T>(what: string, work: Promise<T>): Promise<T> {
    const guard = new AbortController();
    const late = delay(hangMs, 'late' as const, { signal: guard.signal }).catch(() => 'late' as const);
    const first = await Promise.race([work, late]);
    guard.abort();
    if (first === 'late') throw new Error(`${what} hangs`);
    return first;
  }

  /** Reads as a worker does; whatever comes must be the prompt's own bytes. */
  async function read(worker: TestWorker, { name, blocks }: Prompt): Promise<number> {
    const found = await timely(`reading ${name}`, worker.read(name, blocks, { timeoutMs: 800 }));
    expect(found.wrong).to.deep.equal([]);
    await worker.release(found.leaseIds);
    return found.blocks;
  }

  for (const seed of [1, 2, 3])
    it(`gives every block right or not at all, and holds nothing at the end (seed ${seed})`, async () => {
      const random = new Random(seed);
      await kvbm.start(settings(seed));
      let workers = [await kvbm.attach(), await kvbm.attach()];
      const prompts: Prompt[] = [];
      let found = 0;
      const store = async (worker: TestWorker): Promise<void> => {
        const prompt = { name: `p${prompts.length}`, blocks: 1 + random.below(12) };
        prompts.push(prompt);
        await worker.store(prompt.name, 0, prompt.blocks);
      };
      const step = async (worker: TestWorker): Promise<void> => {
        const prompt = prompts[random.below(prompts.length)];
        const kind = random.next();
        if (kind < 0.45 || prompt === undefined) await store(worker);
        else if (kind < 0.85) found += await read(worker, prompt);
        else if (kind < 0.88) proxy.cut();
        else if (kind < 0.9) proxy.freeze();
        else if (kind < 0.96) proxy.heal();
        else await spoilDisk(random);
      };
      for (let round = 0; round < 120; round++) {
        await Promise.all(workers.map((worker) => step(worker)));
        if (round % 50 !== 49) continue;
        await timely('stopping', kvbm.stop());
        await kvbm.start(settings(seed));
        workers = [await kvbm.attach(), await kvbm.attach()];
      }
      proxy.heal();
      expect(found).to.be.greaterThan(0);
      await heldNothing(kvbm);
    });
});
