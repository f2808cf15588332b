// GB/s of each transfer back end between two processes, against what the system reaches without us in the same rounds.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { type BenchOptions, type BenchReport, type BenchRow, benchRow, median } from '#bench/report.ts';
import { decodeDescriptors } from '#lib/transfer/descriptors.ts';
import type { Peer, Piece, Region, RegionRef, TransferAgent, TransferBackend } from '#lib/transfer/transfer.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import { findNixl } from '#tests/support/nixl.ts';
import { startAgent } from '#tests/transfer/backends.ts';
import { RawMover, type RawWay } from './raw.ts';

const MIB = 1 << 20;
const BYTES = 256 * MIB;
/** Sizes of one piece and how many of them a list has. */
const shapes: readonly Shape[] = [
  { name: '1 MiB', pieceBytes: MIB, pieces: 1 },
  { name: '16 MiB', pieceBytes: 16 * MIB, pieces: 1 },
  { name: '256 MiB', pieceBytes: BYTES, pieces: 1 },
  { name: '128 × 128 KiB, scattered', pieceBytes: 128 * 1024, pieces: 128 },
  { name: '1024 × 16 KiB, scattered', pieceBytes: 16 * 1024, pieces: 1024 },
  { name: '1024 × 16 KiB, adjacent', pieceBytes: 16 * 1024, pieces: 1024, adjacent: true },
];
/** Scattered pieces lie here in order and there every so many-th. As in raw.cc. */
const STRIDE = 383;
/** Until the code of both sides is compiled. */
const WARMING_PULLS = 300;
/** Bytes that one way moves one after another, so that neither side's first, cold one decides. */
const BURST_BYTES = 64 * MIB;
/** Least part of the raw way's speed. */
const TARGET = 0.8;
/** What each back end is compared with: UCX copies between processes as `shm` does. */
const rawWays: Readonly<Record<TransferBackend, RawWay>> = { shm: 'readv', nixl: 'readv', tcp: 'socket' };

interface Shape {
  readonly name: string;
  readonly pieceBytes: number;
  readonly pieces: number;
  readonly adjacent?: boolean;
}

interface Side {
  readonly backend: TransferBackend;
  readonly agent: TransferAgent;
  readonly child: ChildProcess;
  readonly peer: Peer;
  readonly local: Region;
  readonly remote: RegionRef;
  /** Where the lender has its memory. */
  readonly address: bigint;
}

export async function run({ quick }: BenchOptions): Promise<BenchReport> {
  const backends: TransferBackend[] = findNixl() === undefined ? ['shm', 'tcp'] : ['shm', 'nixl', 'tcp'];
  const sides: Side[] = [];
  const rows: BenchRow[] = [];
  let raw: RawMover | undefined;
  try {
    for (const backend of backends) sides.push(await start(backend));
    const { child, address } = sides[0] ?? { child: undefined, address: 0n };
    raw = await RawMover.start({ pid: child?.pid ?? 0, address, bytes: BYTES });
    for (const shape of shapes) rows.push(...(await measure(shape, sides, raw, quick ? 5 : 25)));
  } finally {
    raw?.close();
    for (const { agent, child } of sides) {
      await agent.close();
      child.kill('SIGKILL');
    }
  }
  return { bench: 'transfer', rows };
}

async function start(backend: TransferBackend): Promise<Side> {
  const args = { execArgv: ['--conditions=source', '--no-warnings'] };
  const child = fork(path.join(import.meta.dirname, 'lender.ts'), [backend, String(BYTES)], args);
  const [offer]: { metadata: string; descriptors: string; address: string }[] = await once(child, 'message');
  const agent = await startAgent(backend, { name: 'borrower' });
  const local = await agent.register(hostMemory().allocate(BYTES).fill(5));
  const [piece] = decodeDescriptors(Buffer.from(offer?.descriptors ?? '', 'base64'));
  if (piece === undefined) throw new Error(`The lender over ${backend} offers nothing.`);
  const peer = await agent.connect(Buffer.from(offer?.metadata ?? '', 'base64'));
  const warming: Piece = { local, localOffset: 0, remote: piece.region, remoteOffset: 0, bytes: MIB };
  for (let pull = 0; pull < WARMING_PULLS; pull += 1) await peer.pull([warming]);
  return { backend, agent, child, peer, local, remote: piece.region, address: BigInt(offer?.address ?? 0) };
}

async function measure(
  { name, pieceBytes, pieces, adjacent = false }: Shape,
  sides: readonly Side[],
  raw: RawMover,
  rounds: number,
): Promise<BenchRow[]> {
  const bytes = pieceBytes * pieces;
  const times = Math.max(1, Math.floor(BURST_BYTES / bytes));
  const offsets = Array.from({ length: pieces }, (_, index) => ({
    here: index * pieceBytes,
    there: (adjacent ? index : (index * STRIDE) % pieces) * pieceBytes,
  }));
  const anchors: Record<RawWay, number[]> = { memcpy: [], readv: [], socket: [] };
  const speeds = new Map<Side, number[]>(sides.map((side) => [side, []]));
  // One more round than counted: connections and pages are made in the first.
  for (let round = 0; round <= rounds; round += 1) {
    for (const way of ['memcpy', 'readv', 'socket'] as const) {
      const reached = await raw.move(way, { pieceBytes, pieces, times, stride: adjacent ? 1 : STRIDE });
      if (round > 0) anchors[way].push(reached);
    }
    for (const side of sides) {
      const { local, remote } = side;
      const list = offsets.map(
        ({ here, there }): Piece => ({ local, localOffset: here, remote, remoteOffset: there, bytes: pieceBytes }),
      );
      await side.peer.pull(list);
      const reached = await gigabytesPerSecond(bytes * times, async () => {
        for (let time = 0; time < times; time += 1) await side.peer.pull(list);
      });
      if (round > 0) speeds.get(side)?.push(reached);
    }
  }
  return sides.flatMap((side) => {
    const way = rawWays[side.backend];
    const anchor = median(anchors[way]);
    const ours = median(speeds.get(side) ?? []);
    const target = anchor * TARGET;
    const row = { unit: 'GB/s', ours, better: 'higher' } as const;
    return [
      benchRow({ ...row, line: `${side.backend}, ${name}, of ${way}`, anchor, target }),
      benchRow({ ...row, line: `${side.backend}, ${name}, of memcpy`, anchor: median(anchors.memcpy) }),
    ];
  });
}

async function gigabytesPerSecond(bytes: number, work: () => Promise<void>): Promise<number> {
  const start = process.hrtime.bigint();
  await work();
  return bytes / Number(process.hrtime.bigint() - start);
}
