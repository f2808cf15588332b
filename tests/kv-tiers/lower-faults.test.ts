import { execFile } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import type { Context } from 'mocha';
import { Random } from '#core/kv-index/testing/random.ts';
import { BlockTier, KvBlockService, OnboardEnd } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import type { KvbmConfig } from '#services/kvbm/config.ts';
import { chain, TestKvbm, TestWorker } from '#services/kvbm/kvbm.test-support.ts';
import { startFakeS3 } from '#tests/objectstore/fake-s3.ts';
import { bucket, type ObjectServer, startAzurite, startVersitygw } from '#tests/support/object-servers.ts';
import { skip } from '#tests/support/skip.ts';
import { flagsOf, StatorProcess } from '#tests/support/stator-process.ts';
import { startTcpProxy, type TcpProxy } from '#tests/support/tcp-proxy.ts';
import { until } from '#tests/support/until.ts';
import { heldNothing, metricOf, stored } from './lower-support.ts';

const { DISK, OBJECT } = BlockTier;

/** Requests that fail fast where the store cannot be reached, and that a slow one still has time for. */
const impatient: Partial<KvbmConfig> = {
  objectStoreAttemptTimeoutMs: 5000,
  objectStoreTimeoutMs: 10_000,
  objectStoreMaxRetries: 1,
};

/** Pushes everything else out of a host memory of 1 MiB. */
async function flood(worker: TestWorker, name: string): Promise<void> {
  for (let at = 0; at < 64; at++) await worker.store(`${name}${at}`, 0, 1);
}

type Start = () => Promise<ObjectServer | null>;
const servers: Readonly<Record<'s3' | 'azure', Start>> = { s3: startVersitygw, azure: startAzurite };

for (const name of ['s3', 'azure'] as const)
  describe(`KV blocks in an object store that fails: ${name}`, function () {
    this.timeout(60_000);
    let server: ObjectServer;
    let proxy: TcpProxy;
    let kvbm: TestKvbm;
    let worker: TestWorker;

    let prefix = '';

    function settingsOf(port: number): Partial<KvbmConfig> {
      const endpoint = `http://127.0.0.1:${port}`;
      return {
        ...impatient,
        objectStore: `${name}://${bucket}/${prefix}`,
        objectStoreEndpoint: name === 's3' ? endpoint : `${endpoint}/${server.accessKeyId}`,
        objectStoreAccessKeyId: server.accessKeyId,
        objectStoreSecret: server.secret,
      };
    }

    before(async function () {
      server = (await servers[name]()) ?? skip(this, `no server of ${name} on this machine: \`npm test\` brings it`);
      if (name === 'azure') await makeContainer(server);
    });
    after(() => server?.stop());
    beforeEach(async () => {
      proxy = await startTcpProxy(server.port, { reset: false });
      prefix = `run-${Math.floor(performance.now())}`;
      kvbm = new TestKvbm({ hostMib: 1, findTimeoutMs: 5000, ...settingsOf(proxy.port) });
      await kvbm.start();
      worker = await kvbm.attach();
    });
    afterEach(async () => {
      await proxy.close();
      await kvbm.close();
    });

    it('come back from it, also on another node', async () => {
      await worker.store('a', 0, 12);
      await stored(kvbm, 'object', 12);
      await flood(worker, 'x');
      const read = await worker.read('a', 12);
      expect(read).to.deep.include({ blocks: 12, end: OnboardEnd.COMPLETE, wrong: [] });
      expect(read.tiers).to.deep.equal(Array(12).fill(OBJECT));
      await worker.release(read.leaseIds);
      await heldNothing(kvbm);
      await kvbm.stop();
      const other = new TestKvbm({ hostMib: 1, objectListBlocks: 0, findTimeoutMs: 5000 });
      await other.start(settingsOf(server.port));
      const there = await other.attach();
      const found = await there.read('a', 13);
      expect(found).to.deep.include({ blocks: 12, end: OnboardEnd.MISSING, wrong: [] });
      await there.release(found.leaseIds);
      await heldNothing(other);
      await other.close();
    });

    it('are missed while it is down, which is told, and found once it is back', async () => {
      await worker.store('a', 0, 4);
      await stored(kvbm, 'object', 4);
      await flood(worker, 'x');
      proxy.cut();
      await until('it is degraded', async () => {
        const { blocks } = await worker.read('a', 4, { timeoutMs: 3000 });
        expect(blocks).to.equal(0);
        return (await kvbm.client.stats({})).degraded['object'] !== undefined;
      });
      // Nobody waits for it now: what is in host memory is served, what is not is missed at once.
      const there = await worker.read('x63', 1);
      expect(there.blocks).to.equal(1);
      await worker.release(there.leaseIds);
      await worker.store('b', 0, 2);
      proxy.heal();
      await until('it works again', async () => {
        const read = await worker.read('a', 4);
        await worker.release(read.leaseIds);
        return read.blocks === 4;
      });
      await until('degraded no more', async () => (await kvbm.client.stats({})).degraded['object'] === undefined);
      // What was stored meanwhile waited for it.
      await until('all is copied', async () => (await metricOf(kvbm, 'offload_waiting')) === 0, 30_000);
      await flood(worker, 'y');
      const late = await worker.read('b', 2);
      expect(late).to.deep.include({ blocks: 2, wrong: [] });
      await worker.release(late.leaseIds);
      await heldNothing(kvbm);
    });

    it('do not keep a request beyond its deadline when it falls silent', async () => {
      await worker.store('a', 0, 4);
      await stored(kvbm, 'object', 4);
      await flood(worker, 'x');
      proxy.freeze();
      const read = await worker.read('a', 4, { timeoutMs: 300 });
      expect(read.blocks).to.equal(0);
      expect(read.end).to.be.oneOf([OnboardEnd.LATE, OnboardEnd.FAILED, OnboardEnd.MISSING]);
      const controller = new AbortController();
      const call = kvbm.client.onboard(
        { holderId: worker.holderId, chain: chain(worker.namespace, 'a', 0, 4), timeoutMs: 60_000 },
        { signal: controller.signal },
      );
      const ended = (async () => {
        for await (const _ of call);
      })().catch(() => 'cancelled');
      await until('it loads', async () => (await metricOf(kvbm, 'load_blocks{')) > 0);
      controller.abort();
      expect(await ended).to.equal('cancelled');
      proxy.heal();
      await heldNothing(kvbm);
    });
  });

async function makeContainer({ port, accessKeyId, secret }: ObjectServer): Promise<void> {
  const { BlobServiceClient, StorageSharedKeyCredential } = await import('@azure/storage-blob');
  const credential = new StorageSharedKeyCredential(accessKeyId, secret);
  const admin = new BlobServiceClient(`http://127.0.0.1:${port}/${accessKeyId}`, credential);
  await admin.getContainerClient(bucket).createIfNotExists();
}

describe('KV blocks and a store that answers with errors', () => {
  let kvbm: TestKvbm;
  afterEach(() => kvbm.close());

  for (const status of [500, 503, 403])
    it(`are kept in host memory while it says ${status}`, async () => {
      const fake = await startFakeS3((_, response) => {
        response.statusCode = status;
        response.end();
      });
      kvbm = await new TestKvbm({
        ...{ hostMib: 1, ...impatient, objectStore: `s3://${bucket}/x`, objectStoreEndpoint: fake.endpoint },
        ...{ objectStoreAccessKeyId: 'key', objectStoreSecret: 'secret' },
      }).start();
      const worker = await kvbm.attach();
      for (let at = 0; at < 10; at++) await worker.store(`a${at}`, 0, 4);
      await until('it is degraded', async () => (await kvbm.client.stats({})).degraded['object'] !== undefined);
      const read = await worker.read('a3', 4, { timeoutMs: 3000 });
      expect(read).to.deep.include({ blocks: 4, end: OnboardEnd.COMPLETE, wrong: [] });
      await worker.release(read.leaseIds);
      expect((await worker.read('unknown', 4, { timeoutMs: 3000 })).blocks).to.equal(0);
      const seen = fake.requests.length;
      await worker.store('b', 0, 20);
      // Some of the earlier ones are still being repeated; for the new ones nobody asks.
      expect(fake.requests.length - seen).to.be.below(20);
      await fake.close();
      await heldNothing(kvbm);
    });
});

describe('KV blocks on a disk that is full', () => {
  let kvbm: TestKvbm;
  let mounted: string;

  beforeEach(async function () {
    kvbm = new TestKvbm({ hostMib: 1 });
    mounted = path.join(kvbm.folder, 'small');
    await mountSmall(this, mounted);
  });
  afterEach(async () => {
    await kvbm.close().catch(() => undefined);
    await promisify(execFile)('umount', ['-l', mounted]).catch(() => undefined);
    await rm(kvbm.folder, { recursive: true, force: true });
  });

  it('use the room that there is, and more of it when there is more', async () => {
    await kvbm.start({ diskDir: path.join(mounted, 'kv'), diskMib: 64, diskSegmentMib: 1 });
    const worker = await kvbm.attach();
    for (let at = 0; at < 300; at++) await worker.store(`a${at}`, 0, 1);
    await until('it is told', async () => (await kvbm.client.stats({})).degraded['disk']?.includes('ENOSPC') === true);
    // 2 or 3 MiB of the 4 hold blocks; the latest are among them, because they push out older ones.
    await until('late blocks are on disk', async () => {
      await worker.store('late', 0, 1);
      await flood(worker, `late-${performance.now()}`);
      return (await worker.match('late', 1)).includes(DISK);
    });
    const read = await worker.read('late', 1);
    expect(read).to.deep.include({ blocks: 1, wrong: [] });
    await worker.release(read.leaseIds);
  });
});

/** A file system of 4 MiB, where this user may mount one. */
async function mountSmall(context: Context, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await promisify(execFile)('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', folder]).catch(() =>
    skip(context, 'this user may not mount a file system of 4 MiB'),
  );
}

/** A block manager in a process of its own, and a worker in this one. */
class Victim {
  readonly folder: string;
  readonly #settings: Record<string, string | number>;
  #process: StatorProcess | undefined;
  #rpc: ReturnType<typeof createRpcClient<typeof KvBlockService>> | undefined;
  #worker: TestWorker | undefined;

  constructor(folder: string) {
    this.folder = folder;
    this.#settings = {
      ...{ listen: '127.0.0.1:0', discovery: `file:${path.join(folder, 'discovery')}`, logFormat: 'json' },
      ...{ slabDir: path.join(folder, 'slabs'), hostMib: 1 },
      ...{ diskDir: path.join(folder, 'disk'), diskMib: 16, diskSegmentMib: 1 },
      ...{ objectStore: `file:${path.join(folder, 'objects')}`, objectFilter: 'presence' },
    };
  }

  async start(): Promise<TestWorker> {
    this.#process = new StatorProcess(['kvbm', ...flagsOf(this.#settings)]);
    const [, address = ''] = await this.#process.printed(/"address":"([^"]+)"/, 60_000);
    this.#rpc = createRpcClient(KvBlockService, { address }, quietTelemetry());
    this.#worker = new TestWorker(this.#rpc.client, this.folder);
    await this.#worker.attach({});
    return this.#worker;
  }

  async kill(): Promise<void> {
    await this.#process?.stop('SIGKILL');
    await this.#worker?.detach().catch(() => undefined);
    this.#rpc?.close();
  }
}

describe('KV blocks of a block manager that is killed while it writes', function () {
  this.timeout(120_000);

  it('are whole or a miss afterwards, in every tier', async () => {
    const { folder } = new TestKvbm();
    const victim = new Victim(folder);
    const random = new Random(11);
    let found = 0;
    for (let round = 0; round < 4; round++) {
      const worker = await victim.start();
      for (let earlier = 0; earlier < round; earlier++)
        for (let prompt = 0; prompt < 40; prompt++) {
          // Throws when bytes of another block come; wrong ones must never be handed over as sound.
          const read = await worker.read(`r${earlier}-${prompt}`, 3, { timeoutMs: 5000 });
          expect(read.wrong).to.deep.equal([]);
          found += read.blocks;
          await worker.release(read.leaseIds);
        }
      // Host memory of an earlier life must not hide what is on disk.
      const lasts = 60 + random.below(120);
      const writing = (async () => {
        for (let prompt = 0; prompt < 40; prompt++) await worker.store(`r${round}-${prompt}`, 0, 3);
      })().catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, lasts));
      await victim.kill();
      await writing;
      if (round % 2 === 0) await rm(path.join(folder, 'slabs'), { recursive: true, force: true });
    }
    expect(found).to.be.greaterThan(0);
    await rm(folder, { recursive: true, force: true });
  });
});
