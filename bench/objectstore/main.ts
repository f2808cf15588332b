// The object store and the tier of KV blocks above it against a bare S3 client, on the same server (versitygw) in the same run:
// GB/s of objects of 1 MiB put and got 16 at once, and the median time of one alone.
import { randomBytes } from 'node:crypto';
import { Agent } from 'node:http';
import type { Readable } from 'node:stream';
import { type BenchOptions, type BenchReport, type BenchRow, benchRow, MissingTool, median } from '#bench/report.ts';
import type { BlockHeader } from '#core/blocks/record/block-header.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { openObjectStore } from '#lib/objectstore/open.ts';
import { objectStoreSettings } from '#lib/objectstore/settings.ts';
import { BulkMemory } from '#lib/sharedmem/bulk-memory.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import { xxh3 } from '#native/tokens/index.ts';
import { alignedBytes } from '#services/kvbm/disk/aligned.ts';
import { describeLayout } from '#services/kvbm/layout.ts';
import type { RestingPlace } from '#services/kvbm/movers/depot.ts';
import { ObjectBlocks } from '#services/kvbm/object/object-blocks.ts';
import { identityOf } from '#services/kvbm/stored/expected.ts';
import { Sealing } from '#services/kvbm/stored/sealing.ts';
import { bucket, type ObjectServer, startVersitygw } from '#tests/support/object-servers.ts';

const blockBytes = 1 << 20;
const concurrency = 16;
const target = 0.8;
const none = new AbortController().signal;

/** One way to put and get an object by number. */
interface Way {
  readonly name: string;
  put(index: number): Promise<void>;
  get(index: number): Promise<void>;
  close(): Promise<void>;
}

interface Figures {
  readonly put: number;
  readonly get: number;
  readonly putMs: number;
  readonly getMs: number;
}

export async function run({ quick }: BenchOptions): Promise<BenchReport> {
  const server = await startVersitygw();
  if (server === null) throw new MissingTool('there is no versitygw: `npm test -- --only objectstore` builds it');
  const ways = [await bareClient(server), await plainStore(server), await blocks(server)];
  try {
    const objects = quick ? 32 : 256;
    const figures = new Map(ways.map((way) => [way, [] as Figures[]]));
    for (let round = 0; round < (quick ? 1 : 5); round++)
      for (const way of ways) figures.get(way)?.push(await measure(way, objects));
    const [bare = [], ...others] = [...figures.values()];
    return { bench: 'objectstore', rows: others.flatMap((ours, at) => rowsOf(ways[at + 1]?.name ?? '', ours, bare)) };
  } finally {
    for (const way of ways) await way.close();
    await server.stop();
  }
}

function rowsOf(name: string, ours: readonly Figures[], bare: readonly Figures[]): BenchRow[] {
  const row = (line: string, what: keyof Figures, unit: string): BenchRow => {
    const ratios = ours.map((figures, round) => figures[what] / (bare[round]?.[what] ?? Number.NaN));
    const ratio = median(ratios);
    const isSpeed = unit === 'GB/s';
    const base = benchRow({
      line: `${name}, ${line}`,
      unit,
      ours: median(ours.map((figures) => figures[what])),
      anchor: median(bare.map((figures) => figures[what])),
    });
    const spread = (Math.max(...ratios) - Math.min(...ratios)) / ratio;
    return { ...base, ratio, spread, ...(isSpeed && { target, ok: ratio >= target }) };
  };
  return [
    row('put', 'put', 'GB/s'),
    row('get', 'get', 'GB/s'),
    row('one put', 'putMs', 'ms'),
    row('one get', 'getMs', 'ms'),
  ];
}

async function measure(way: Way, objects: number): Promise<Figures> {
  const gigabytes = (objects * blockBytes) / 1e9;
  const put = gigabytes / (await each(objects, (index) => way.put(index)));
  const get = gigabytes / (await each(objects, (index) => way.get(index)));
  return { put, get, putMs: await alone((index) => way.put(index)), getMs: await alone((index) => way.get(index)) };
}

/** Seconds for all, so many at once. */
async function each(count: number, visit: (index: number) => Promise<void>): Promise<number> {
  const start = performance.now();
  let next = 0;
  const work = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) await visit(index);
  };
  await Promise.all(Array.from({ length: concurrency }, work));
  return (performance.now() - start) / 1000;
}

async function alone(visit: (index: number) => Promise<void>): Promise<number> {
  const times: number[] = [];
  for (let index = 0; index < 16; index++) {
    const start = performance.now();
    await visit(index);
    times.push(performance.now() - start);
  }
  return median(times);
}

/** The library without us: as its own examples use it, with connections kept. */
async function bareClient(server: ObjectServer): Promise<Way> {
  const { S3Client, PutObjectCommand, GetObjectCommand } = await import('@aws-sdk/client-s3');
  const httpAgent = new Agent({ keepAlive: true, maxSockets: concurrency });
  const client = new S3Client({
    endpoint: `http://127.0.0.1:${server.port}`,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: server.accessKeyId, secretAccessKey: server.secret },
    requestHandler: { httpAgent },
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  });
  const Body = randomBytes(blockBytes);
  const target = Buffer.alloc(blockBytes);
  return {
    name: 'bare client',
    put: async (index) =>
      void (await client.send(new PutObjectCommand({ Bucket: bucket, Key: `bare/${index}`, Body }))),
    get: async (index) => {
      const got = await client.send(new GetObjectCommand({ Bucket: bucket, Key: `bare/${index}` }));
      let at = 0;
      for await (const chunk of got.Body as Readable) at += (chunk as Buffer).copy(target, at);
      if (at !== blockBytes) throw new Error(`${at} bytes came`);
    },
    close: async () => {
      client.destroy();
      httpAgent.destroy();
    },
  };
}

function open(server: ObjectServer) {
  const settings = defaultSettings(objectStoreSettings, {
    objectStore: `s3://${bucket}/ours`,
    objectStoreEndpoint: `http://127.0.0.1:${server.port}`,
    objectStoreAccessKeyId: server.accessKeyId,
    objectStoreSecret: server.secret,
    objectStoreConcurrency: concurrency,
  });
  return openObjectStore(settings, quietTelemetry());
}

async function plainStore(server: ObjectServer): Promise<Way> {
  const store = await open(server);
  const body = randomBytes(blockBytes);
  const into = Buffer.alloc(blockBytes);
  return {
    name: 'object store',
    put: (index) => store.put(`plain/${index}`, body),
    get: async (index) => void (await store.get(`plain/${index}`, { into })),
    close: () => store.close(),
  };
}

/** Blocks with record and checksum, from and into memory as a slab's. */
async function blocks(server: ObjectServer): Promise<Way> {
  const store = await open(server);
  const bulk = new BulkMemory(hostMemory());
  const checksum = async (bytes: Uint8Array): Promise<bigint> =>
    (await bulk.checksums(bytes, [{ offset: 0, bytes: bytes.length }]))[0] ?? 0n;
  const sealing = new Sealing({ checksum, wallMs: Date.now });
  const tier = new ObjectBlocks({ store, sealing, hash: xxh3, concurrency });
  const layout = describeLayout({ format: 'bench', blockBytes, blockTokens: 16, dtype: 'f16' }, 0);
  const slab = alignedBytes(concurrency * blockBytes);
  slab.set(randomBytes(blockBytes));
  const rooms = Array.from({ length: concurrency }, (_, at) => slab.subarray(at * blockBytes, (at + 1) * blockBytes));
  const [first = slab] = rooms;
  const payloadChecksum = await checksum(first);
  const facts = { model: 'bench', modelDigest: '0'.repeat(64), adapterDigest: '', rank: 0, ranks: 1, saltDigest: '' };
  const namespace = {
    ...facts,
    layout: layout.fingerprint,
    digest: '0'.repeat(32),
    tenant: '0'.repeat(16),
    modelCode: 0n,
  };
  const place = (index: number): RestingPlace => {
    return { layout, namespace, slot: index, digest: Uint32Array.of(index, 2, 3, 4) };
  };
  const header = (index: number): BlockHeader => ({
    ...{ epoch: 1, generation: 1, position: 0, parent: null, priority: 0, sequenceHash: 1n, isEncrypted: false },
    ...{ namespaceDigest: new Uint32Array(4), modelDigest: 0n, layout: layout.code, dtype: layout.dtypeCode },
    ...{ blockTokens: 16, digest: Uint32Array.of(index, 2, 3, 4), payloadBytes: blockBytes, payloadChecksum },
  });
  return {
    name: 'KV blocks',
    put: async (index) => {
      if (!(await tier.write(place(index), header(index), first, none))) throw new Error('the bytes changed');
    },
    get: async (index) => {
      const { digest } = place(index);
      // Room 0 holds what is put.
      const room = rooms[1 + (index % (concurrency - 1))] ?? slab;
      const read = await tier.read(place(index), identityOf(layout, namespace, digest), room, none);
      if (read.rejection !== undefined) throw new Error(read.rejection);
    },
    close: () => store.close(),
  };
}
