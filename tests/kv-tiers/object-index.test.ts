import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import { Tier } from '#gen/stator/events/v1/events_pb.ts';
import { BlockTier } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import type { KvbmConfig } from '#services/kvbm/config.ts';
import { TestKvbm } from '#services/kvbm/kvbm.test-support.ts';
import { MockerEngine } from '#services/workers/mocker/engine.ts';
import { until } from '#tests/support/until.ts';
import { metricOf, stored } from './lower-support.ts';
import { promptOf, TieredWorker } from './tiered-worker.ts';

const { OBJECT } = BlockTier;

describe('what is known of an object store after a restart', function () {
  this.timeout(120_000);
  let kvbm: TestKvbm;

  const settings = (): Partial<KvbmConfig> => ({ objectStore: `file:${join(kvbm.folder, 'objects')}` });
  const indexed = (): Promise<number> => metricOf(kvbm, 'stored_indexed_blocks_total', 'tier="object"');

  async function registered(): Promise<number> {
    const { arenas } = await kvbm.client.stats({});
    return Number(arenas.find((arena) => arena.tier === OBJECT)?.registered ?? 0n);
  }

  /** Host memory is lost with everything that was known. */
  async function restart(more: Partial<KvbmConfig> = {}): Promise<void> {
    await kvbm.stop();
    await rm(join(kvbm.folder, 'slabs'), { recursive: true, force: true });
    await kvbm.start({ ...settings(), ...more });
  }

  /** Namespaces are listed when the first prompt in them is looked for. */
  async function look(): Promise<void> {
    await (await kvbm.attach()).read('nothing', 1);
  }

  beforeEach(async () => {
    kvbm = new TestKvbm({ hostMib: 1, findTimeoutMs: 10_000 });
    await kvbm.start(settings());
  });
  afterEach(() => kvbm.close());

  it('is found and told without being loaded', async () => {
    const worker = await kvbm.attach();
    await worker.store('a', 0, 8);
    await worker.store('b', 0, 3);
    await stored(kvbm, 'object', 11);
    await restart();
    await look();
    await until('records are read', async () => (await indexed()) === 11);
    const again = await kvbm.attach();
    expect(await again.match('a', 9)).to.deep.equal(Array(8).fill(OBJECT));
    expect(await again.match('b', 9)).to.deep.equal(Array(3).fill(OBJECT));
    expect((await again.read('a', 8)).wrong).to.deep.equal([]);
  });

  it('is bounded: by the setting, and by what the index has room for', async () => {
    const worker = await kvbm.attach();
    await worker.store('a', 0, 12);
    await stored(kvbm, 'object', 12);
    await restart({ objectRecoverBlocks: 0 });
    await look();
    const other = await kvbm.attach();
    // Whatever is read is asked for before this is.
    await until('it is listed', () =>
      kvbm.records.some(({ msg, objects }) => msg === 'objects are known' && objects === 12),
    );
    expect([await indexed(), await other.match('a', 1)]).to.deep.equal([0, []]);
    kvbm.records.length = 0;
    await restart({ objectIndexBlocks: 5 });
    await look();
    await until('it is listed', () => kvbm.records.some(({ msg }) => msg === 'objects are known'));
    expect(await registered()).to.be.at.most(5);
    expect(await registered()).to.equal(await indexed());
  });

  it('has nothing whose record is spoilt or whose beginning is gone', async () => {
    const worker = await kvbm.attach();
    await worker.store('a', 0, 6);
    await stored(kvbm, 'object', 6);
    const folder = join(kvbm.folder, 'objects');
    const files = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith('#'));
    const third = await fileOf(folder, files, 'a/3|');
    const bytes = await readFile(third);
    // Behind the directory's own page lies the record.
    bytes[8192 + 100] = ~(bytes[8192 + 100] ?? 0);
    await writeFile(third, bytes);
    await restart();
    await look();
    await until('it is listed', () =>
      kvbm.records.some(({ msg, objects }) => msg === 'objects are known' && objects === 6),
    );
    expect(await (await kvbm.attach()).match('a', 6)).to.deep.equal(Array(3).fill(OBJECT));
    expect(await indexed()).to.equal(3);
  });

  it('reaches a router that comes late, by way of a worker that never loaded it', async () => {
    const mocker = () => new MockerEngine({ blockSize: 16, kvBlockBytes: 2000, kvBlocks: 512, meanOutputTokens: 0 });
    const prompt = promptOf(1, 1, 160);
    {
      await using first = await new TieredWorker(mocker(), kvbm.address).start();
      await first.attached();
      await first.run(prompt);
      await first.writtenBack(10);
      await stored(kvbm, 'object', 10);
    }
    await restart();
    await using second = await new TieredWorker(mocker(), kvbm.address).start();
    await second.attached();
    // Another prompt in the namespace makes it known.
    await second.run(promptOf(7, 7, 32));
    await until('a late router is told of all blocks', () => {
      const told = [...second.engine.kvSnapshot()].flatMap(({ change }) =>
        change.case === 'stored' && change.value.tier === Tier.EXTERNAL ? [change.value.sequenceHashes.length / 8] : [],
      );
      return told.reduce((sum, blocks) => sum + blocks, 0) >= 10;
    });
    expect(await second.metric('stator_worker_kv_onboarded_blocks_total')).to.equal(0);
  });
});

async function fileOf(folder: string, files: readonly string[], text: string): Promise<string> {
  for (const name of files) {
    const bytes = await readFile(join(folder, name));
    if (bytes.includes(text)) return join(folder, name);
  }
  throw new Error(`no object holds ${text}`);
}
