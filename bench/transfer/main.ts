// GB/s of each transfer back end between two processes, against memcpy in the same run. Rounds alternate.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { type BenchOptions, type BenchReport, type BenchRow, benchRow, median } from '#bench/report.ts';
import { decodeDescriptors } from '#lib/transfer/descriptors.ts';
import type { Peer, Piece, Region, RegionRef, TransferAgent, TransferBackend } from '#lib/transfer/transfer.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import { findNixl } from '#tests/support/nixl.ts';
import { startAgent } from '#tests/transfer/backends.ts';

const MIB = 1 << 20;
const BYTES = 256 * MIB;
/** Sizes of one piece and how many of them a list has. */
const shapes = [
  { name: '1 MiB', pieceBytes: MIB, pieces: 1 },
  { name: '16 MiB', pieceBytes: 16 * MIB, pieces: 1 },
  { name: '256 MiB', pieceBytes: BYTES, pieces: 1 },
  { name: '128 × 128 KiB', pieceBytes: 128 * 1024, pieces: 128 },
  { name: '1024 × 16 KiB', pieceBytes: 16 * 1024, pieces: 1024 },
] as const;
/** Least part of memcpy's speed for one copy between processes of a host. */
const TARGET = 0.7;

interface Side {
  readonly backend: TransferBackend;
  readonly agent: TransferAgent;
  readonly child: ChildProcess;
  readonly peer: Peer;
  readonly local: Region;
  readonly remote: RegionRef;
}

export async function run({ quick }: BenchOptions): Promise<BenchReport> {
  const backends: TransferBackend[] = findNixl() === undefined ? ['shm', 'tcp'] : ['shm', 'nixl', 'tcp'];
  const sides: Side[] = [];
  const rows: BenchRow[] = [];
  const from = hostMemory().allocate(BYTES).fill(3);
  const to = hostMemory().allocate(BYTES).fill(4);
  try {
    for (const backend of backends) sides.push(await start(backend));
    for (const shape of shapes) rows.push(...(await measure(shape, sides, { from, to, rounds: quick ? 5 : 25 })));
  } finally {
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
  const [offer]: { metadata: string; descriptors: string }[] = await once(child, 'message');
  const agent = await startAgent(backend, { name: 'borrower' });
  const local = await agent.register(hostMemory().allocate(BYTES).fill(5));
  const [piece] = decodeDescriptors(Buffer.from(offer?.descriptors ?? '', 'base64'));
  if (piece === undefined) throw new Error(`The lender over ${backend} offers nothing.`);
  const peer = await agent.connect(Buffer.from(offer?.metadata ?? '', 'base64'));
  return { backend, agent, child, peer, local, remote: piece.region };
}

interface Copies {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
  readonly rounds: number;
}

async function measure(shape: (typeof shapes)[number], sides: readonly Side[], copies: Copies): Promise<BenchRow[]> {
  const { pieceBytes, pieces } = shape;
  const bytes = pieceBytes * pieces;
  const offsets = Array.from({ length: pieces }, (_, index) => index * pieceBytes);
  const copy: number[] = [];
  const speeds = new Map<Side, number[]>(sides.map((side) => [side, []]));
  // One more round than counted: connections and pages are made in the first.
  for (let round = 0; round <= copies.rounds; round += 1) {
    const speed = await gigabytesPerSecond(bytes, async () => {
      for (const offset of offsets) copies.to.set(copies.from.subarray(offset, offset + pieceBytes), offset);
    });
    if (round > 0) copy.push(speed);
    for (const side of sides) {
      const { local, remote } = side;
      const list: Piece[] = offsets.map((at) => ({
        local,
        localOffset: at,
        remote,
        remoteOffset: at,
        bytes: pieceBytes,
      }));
      const reached = await gigabytesPerSecond(bytes, () => side.peer.pull(list));
      if (round > 0) speeds.get(side)?.push(reached);
    }
  }
  const anchor = median(copy);
  return sides.map((side) =>
    benchRow({
      line: `${side.backend}, ${shape.name}`,
      unit: 'GB/s',
      ours: median(speeds.get(side) ?? []),
      anchor,
      better: 'higher',
      ...(side.backend === 'shm' && bytes === BYTES && { target: anchor * TARGET }),
    }),
  );
}

async function gigabytesPerSecond(bytes: number, work: () => Promise<void>): Promise<number> {
  const start = process.hrtime.bigint();
  await work();
  return bytes / Number(process.hrtime.bigint() - start);
}
