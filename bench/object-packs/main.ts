// KV blocks as objects of their own against packs of them, through our object store on the same server (versitygw) in the same run:
// all of them put and got 16 requests at once, the leading 32 blocks of one prompt got, and one block alone by a range of its pack.
import { randomBytes } from 'node:crypto';
import { type BenchOptions, type BenchReport, type BenchRow, benchRow, MissingTool, median } from '#bench/report.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { openObjectStore } from '#lib/objectstore/open.ts';
import { objectStoreSettings } from '#lib/objectstore/settings.ts';
import type { ObjectStore } from '#lib/objectstore/store.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { bucket, startVersitygw } from '#tests/support/object-servers.ts';

const concurrency = 16;
const kibibyte = 1024;
const promptBlocks = 32;
const packSizes = [8, 32];

/** Blocks of one size, so many to an object. */
interface Shape {
  readonly blockBytes: number;
  readonly blocks: number;
  readonly pack: number;
}

/** Milliseconds. */
interface Times {
  readonly put: number;
  readonly get: number;
  /** Of this process. */
  readonly putCpu: number;
  readonly getCpu: number;
  readonly prompt: number;
  readonly one: number;
}

const lines: Readonly<Record<keyof Times, string>> = {
  put: 'all put',
  get: 'all got',
  putCpu: 'all put, processor time',
  getCpu: 'all got, processor time',
  prompt: `${promptBlocks} blocks of a prompt got`,
  one: 'one block got',
};

export async function run({ quick }: BenchOptions): Promise<BenchReport> {
  const server = await startVersitygw();
  if (server === null) throw new MissingTool('there is no versitygw: `npm test -- --only objectstore` builds it');
  const settings = defaultSettings(objectStoreSettings, {
    objectStore: `s3://${bucket}/packs`,
    objectStoreEndpoint: `http://127.0.0.1:${server.port}`,
    objectStoreAccessKeyId: server.accessKeyId,
    objectStoreSecret: server.secret,
    objectStoreConcurrency: concurrency,
  });
  const store = await openObjectStore(settings, quietTelemetry());
  try {
    const rows: BenchRow[] = [];
    for (const [blockBytes, blocks] of [
      [256 * kibibyte, 256],
      [2048 * kibibyte, 64],
    ] as const)
      rows.push(...(await compare(store, blockBytes, quick ? blocks / 2 : blocks, quick ? 2 : 7)));
    return { bench: 'object-packs', rows };
  } finally {
    await store.close();
    await server.stop();
  }
}

async function compare(store: ObjectStore, blockBytes: number, blocks: number, rounds: number): Promise<BenchRow[]> {
  const shapes = [1, ...packSizes].map((pack): Shape => ({ blockBytes, blocks, pack }));
  const measured = new Map(shapes.map((shape) => [shape, [] as Times[]]));
  for (let round = 0; round < rounds; round++)
    for (const shape of shapes) measured.get(shape)?.push(await measure(store, shape));
  const [single = [], ...packed] = [...measured.values()];
  return packed.flatMap((times, at) =>
    Object.entries(lines).map(([what, line]): BenchRow => {
      const of = (one: Times | undefined): number => one?.[what as keyof Times] ?? Number.NaN;
      const ratios = times.map((one, round) => of(one) / of(single[round]));
      const base = benchRow({
        line: `${blockBytes / kibibyte} KiB, packs of ${packSizes[at]}: ${line}`,
        unit: 'ms',
        ours: median(times.map(of)),
        anchor: median(single.map(of)),
      });
      const ratio = median(ratios);
      return { ...base, ratio, spread: (Math.max(...ratios) - Math.min(...ratios)) / ratio };
    }),
  );
}

async function measure(store: ObjectStore, { blockBytes, blocks, pack }: Shape): Promise<Times> {
  const body = randomBytes(blockBytes * pack);
  const rooms = Array.from({ length: concurrency }, () => Buffer.allocUnsafeSlow(blockBytes * pack));
  const objects = Math.ceil(blocks / pack);
  const key = (index: number): string => `${blockBytes}/${pack}/${index}`;
  const get = async (index: number, worker: number): Promise<void> =>
    void (await store.get(key(index), { into: rooms[worker] ?? Buffer.alloc(0) }));
  const started = process.cpuUsage();
  const put = await each(objects, (index) => store.put(key(index), body));
  const putCpu = cpuSince(started);
  const turned = process.cpuUsage();
  const got = await each(objects, get);
  const getCpu = cpuSince(turned);
  const prompt = await each(Math.ceil(promptBlocks / pack), get);
  const alone: number[] = [];
  for (let index = 0; index < 16; index++) {
    const range = { offset: (index % pack) * blockBytes, length: blockBytes };
    const start = performance.now();
    await store.get(key(index % objects), { into: rooms[0]?.subarray(0, blockBytes), ...(pack > 1 && { range }) });
    alone.push(performance.now() - start);
  }
  return { put, get: got, putCpu, getCpu, prompt, one: median(alone) };
}

function cpuSince(from: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(from);
  return (user + system) / 1000;
}

/** Milliseconds for all, so many at once. */
async function each(count: number, visit: (index: number, worker: number) => Promise<void>): Promise<number> {
  const start = performance.now();
  let next = 0;
  const work = async (worker: number): Promise<void> => {
    for (let index = next++; index < count; index = next++) await visit(index, worker);
  };
  await Promise.all(Array.from({ length: concurrency }, (_, worker) => work(worker)));
  return performance.now() - start;
}
