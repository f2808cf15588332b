// KV blocks on disk (G3) against what fio reaches on the same disk at the same block size, in the same run: whole blocks with
// record and checksum, written from and read into memory as a slab's, past the page cache and through it.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type BenchOptions, type BenchReport, type BenchRow, benchRow, median } from '#bench/report.ts';
import type { BlockHeader } from '#core/blocks/record/block-header.ts';
import { BulkMemory } from '#lib/sharedmem/bulk-memory.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import { xxh3 } from '#native/tokens/index.ts';
import { alignedBytes, isPageAligned } from '#services/kvbm/disk/aligned.ts';
import { DiskSlots } from '#services/kvbm/disk/disk-slots.ts';
import { nodeFiles } from '#services/kvbm/disk/files.ts';
import { Segments } from '#services/kvbm/disk/segments.ts';
import { slotBytesOf } from '#services/kvbm/layout.ts';
import { openCipher } from '#services/kvbm/stored/cipher.ts';
import { Sealing } from '#services/kvbm/stored/sealing.ts';
import { fioSpeed } from './fio.ts';

const kib = 1024;
const target = 0.8;
/** Blocks of memory that are written from and read into, as loads and offloads have under way. */
const window = 16;

type Variant = 'direct' | 'buffered' | 'encrypted';

interface Speeds {
  readonly write: number;
  readonly read: number;
}

export async function run({ quick }: BenchOptions): Promise<BenchReport> {
  const totalBytes = (quick ? 64 : 768) * kib * kib;
  const rounds = quick ? 1 : 5;
  const folder = await mkdtemp(path.join(tmpdir(), 'stator-kv-disk-'));
  try {
    const rows: BenchRow[] = [];
    for (const blockBytes of [256 * kib, 1024 * kib, 4096 * kib])
      rows.push(...(await compare(folder, blockBytes, totalBytes, rounds)));
    return { bench: 'kv-disk', rows };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function compare(folder: string, blockBytes: number, totalBytes: number, rounds: number): Promise<BenchRow[]> {
  const raw: Speeds[] = [];
  const ours: Record<Variant, Speeds[]> = { direct: [], buffered: [], encrypted: [] };
  for (let round = 0; round < rounds; round++) {
    const file = path.join(folder, 'fio');
    const job = { file, blockBytes, totalBytes };
    if (round === 0) await fioSpeed({ ...job, direction: 'write' });
    raw.push({
      write: await fioSpeed({ ...job, direction: 'write' }),
      read: await fioSpeed({ ...job, direction: 'read' }),
    });
    for (const variant of ['direct', 'buffered', 'encrypted'] as const)
      ours[variant].push(await measure(path.join(folder, variant), variant, blockBytes, totalBytes, round === 0));
  }
  return (['direct', 'buffered', 'encrypted'] as const).flatMap((variant) =>
    (['write', 'read'] as const).map((direction) => rowOf(variant, direction, blockBytes, ours[variant], raw)),
  );
}

function rowOf(
  variant: Variant,
  direction: keyof Speeds,
  blockBytes: number,
  ours: readonly Speeds[],
  raw: readonly Speeds[],
): BenchRow {
  const ratios = ours.map((speeds, round) => speeds[direction] / (raw[round]?.[direction] ?? Number.NaN));
  const row = benchRow({
    line: `${direction} ${blockBytes / kib} KiB, ${variant}`,
    unit: 'GB/s',
    ours: median(ours.map((speeds) => speeds[direction])),
    anchor: median(raw.map((speeds) => speeds[direction])),
  });
  const ratio = median(ratios);
  // Only what the tier does by itself has a target; the others show what a choice costs.
  const verdict = variant === 'direct' ? { target, ok: ratio >= target } : {};
  return { ...row, ratio, spread: (Math.max(...ratios) - Math.min(...ratios)) / ratio, ...verdict };
}

/** GB/s of blocks' bytes. The first time the files are made. */
async function measure(
  folder: string,
  variant: Variant,
  blockBytes: number,
  totalBytes: number,
  isFirst: boolean,
): Promise<Speeds> {
  const files = nodeFiles(variant !== 'buffered');
  if (isFirst) await files.remove(folder);
  await files.makeFolder(folder);
  const slotBytes = slotBytesOf(blockBytes);
  const slots = Math.floor(totalBytes / slotBytes);
  const memory = { allocate: alignedBytes, isAligned: isPageAligned };
  const shape = { folder, slots, slotBytes, segmentBytes: 256 * kib * kib, files, nowMs: () => 0 };
  const segments = new Segments({ ...shape, preallocate: async () => false, ...memory });
  const bulk = new BulkMemory(hostMemory());
  const checksum = async (bytes: Uint8Array): Promise<bigint> =>
    (await bulk.checksums(bytes, [{ offset: 0, bytes: bytes.length }]))[0] ?? 0n;
  const cipher = variant === 'encrypted' ? await cipherIn(folder, files) : undefined;
  const sealing = new Sealing({ checksum, cipher, wallMs: Date.now });
  const store = new DiskSlots({ segments, slotBytes, sealing, hash: xxh3, concurrency: 4, ...memory });
  const slab = alignedBytes(window * blockBytes);
  const rooms = Array.from({ length: window }, (_, at) => slab.subarray(at * blockBytes, (at + 1) * blockBytes));
  for (const [at, room] of rooms.entries()) room.fill(at + 1);
  const headers = await Promise.all(rooms.map(async (room) => headerOf(blockBytes, await checksum(room))));
  const write = async (slot: number, at: number): Promise<void> => {
    const [header, room] = [headers[at], rooms[at]];
    if (header === undefined || room === undefined || !(await store.write(slot, header, room)))
      throw new Error('not written');
  };
  const read = async (slot: number, at: number): Promise<void> => {
    const { rejection } = await store.read(slot, { payloadBytes: blockBytes }, rooms[at] ?? slab);
    if (rejection !== undefined) throw new Error(`slot ${slot}: ${rejection}`);
  };
  if (isFirst) await each(slots, write);
  const speeds = { write: await each(slots, write), read: await each(slots, read) };
  await segments.close();
  const gigabytes = (slots * blockBytes) / 1e9;
  return { write: gigabytes / speeds.write, read: gigabytes / speeds.read };
}

/** Seconds until every slot was visited, so many at once as there is memory. */
async function each(slots: number, visit: (slot: number, at: number) => Promise<void>): Promise<number> {
  const start = performance.now();
  let next = 0;
  const work = async (_: unknown, at: number): Promise<void> => {
    for (let slot = next++; slot < slots; slot = next++) await visit(slot, at);
  };
  await Promise.all(Array.from({ length: window }, work));
  return (performance.now() - start) / 1000;
}

async function cipherIn(folder: string, files: ReturnType<typeof nodeFiles>) {
  const file = path.join(folder, 'keys');
  await files.writeText(file, '5a'.repeat(32));
  return openCipher(file, xxh3);
}

function headerOf(payloadBytes: number, payloadChecksum: bigint): BlockHeader {
  const digest = Uint32Array.of(1, 2, 3, 4);
  const place = { epoch: 1, generation: 1, position: 0, parent: null, priority: 0 };
  const shape = { modelDigest: 1n, layout: 1, dtype: 1, blockTokens: 16, sequenceHash: 1n, isEncrypted: false };
  return { ...place, ...shape, namespaceDigest: digest, digest, payloadBytes, payloadChecksum };
}
