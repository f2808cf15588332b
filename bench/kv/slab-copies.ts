// Copies between memory of a process and a slab in shared memory, in blocks, against memcpy of the C library in the same rounds.
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { type BenchRow, benchRow, median } from '#bench/report.ts';
import { RawMover } from '#bench/transfer/raw.ts';
import { BulkMemory, type CopyPiece } from '#lib/sharedmem/bulk-memory.ts';
import { allocateMemory } from '#lib/sharedmem/mapped-memory.ts';
import { openSharedMemory } from '#lib/sharedmem/shared-memory.ts';
import { hostMemory } from '#native/hostmem/index.ts';

const MIB = 2 ** 20;
const totalBytes = 256 * MIB;
const blockBytes = [256 * 1024, MIB, 4 * MIB];
const target = 0.7;

export async function measureSlabCopies(rounds: number): Promise<BenchRow[]> {
  const path = `/dev/shm/stator-bench-${randomBytes(6).toString('hex')}`;
  await using slab = await openSharedMemory({ path, bytes: totalBytes, create: true }, hostMemory());
  rmSync(path);
  await using own = allocateMemory(totalBytes, hostMemory());
  await Promise.all([slab.prefault(), own.prefault()]);
  own.buffer.fill(3);
  const raw = await RawMover.start({ pid: process.pid, address: hostMemory().address(own.buffer), bytes: totalBytes });
  try {
    const rows: BenchRow[] = [];
    for (const bytes of blockBytes) rows.push(...(await compare(own.buffer, slab.buffer, bytes, raw, rounds)));
    return rows;
  } finally {
    raw.close();
  }
}

async function compare(
  own: Uint8Array,
  slab: Uint8Array,
  bytes: number,
  raw: RawMover,
  rounds: number,
): Promise<BenchRow[]> {
  const bulk = new BulkMemory(hostMemory());
  const offsets = Array.from({ length: totalBytes / bytes }, (_, at) => at * bytes);
  const pieces = (from: Uint8Array, to: Uint8Array): CopyPiece[] =>
    offsets.map((offset) => ({ from, fromOffset: offset, to, toOffset: offset, bytes }));
  const out = pieces(own, slab);
  const into = pieces(slab, own);
  const ways = {
    'into the slab': () => bulk.copy(out),
    'out of the slab': () => bulk.copy(into),
    'into the slab with checksums': () => bulk.copyAndChecksum(out),
    'checksums alone': () =>
      bulk.checksums(
        slab,
        offsets.map((offset) => ({ offset, bytes })),
      ),
    'into the slab, one thread': () => bulk.copy(out, { threads: 1 }),
  };
  const anchors: number[] = [];
  const speeds = new Map<string, number[]>(Object.keys(ways).map((way) => [way, []]));
  for (let round = 0; round <= rounds; round++) {
    const anchor = await raw.move('memcpy', { pieceBytes: bytes, pieces: totalBytes / bytes, times: 1, stride: 1 });
    if (round > 0) anchors.push(anchor);
    for (const [way, move] of Object.entries(ways)) {
      const start = performance.now();
      await move();
      if (round > 0) speeds.get(way)?.push(totalBytes / (performance.now() - start) / 1e6);
    }
  }
  const anchor = median(anchors);
  return Object.keys(ways).map((way) =>
    benchRow({
      line: `blocks of ${bytes / 1024} KiB ${way}, of memcpy`,
      unit: 'GB/s',
      ours: median(speeds.get(way) ?? []),
      anchor,
      better: 'higher',
      ...(way.endsWith('slab') && { target: anchor * target }),
    }),
  );
}
