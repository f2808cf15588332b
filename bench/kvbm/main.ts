// What calls of the block manager cost a worker: microseconds of each, between two processes on one machine, without copies of
// blocks. The anchor of each line is a call that does nothing (Release of no lease).
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import type { Client } from '@connectrpc/connect';
import { type BenchOptions, type BenchReport, type BenchRow, benchRow, median } from '#bench/report.ts';
import { KvBlockService } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { chain, TestWorker } from '#services/kvbm/kvbm.test-support.ts';
import { StatorProcess } from '#tests/support/stator-process.ts';

const lengths = [1, 16, 256] as const;

export async function run({ quick }: BenchOptions): Promise<BenchReport> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'stator-bench-kvbm-'));
  const address = `127.0.0.1:${await freePort()}`;
  const flags = ['--listen', address, '--slab-dir', path.join(folder, 'slabs'), '--host-mib', '256', '--peers=false'];
  await using server = new StatorProcess([
    'kvbm',
    ...flags,
    '--discovery',
    'memory:',
    '--log-format',
    'json',
    '--discard',
  ]);
  await server.printed(/kvbm ready/);
  const rpc = createRpcClient(KvBlockService, { address }, quietTelemetry());
  const worker = new TestWorker(rpc.client, folder);
  try {
    await worker.attach({});
    return { bench: 'kvbm', rows: await measure(rpc.client, worker, quick ? 30 : 1000) };
  } finally {
    await worker.detach();
    rpc.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(client: Client<typeof KvBlockService>, worker: TestWorker, rounds: number): Promise<BenchRow[]> {
  const { holderId } = worker;
  await timed(rounds, () => client.release({ holderId }));
  const empty = await timed(rounds, () => client.release({ holderId }));
  const rows: BenchRow[] = [];
  const row = (line: string, ours: number): void => void rows.push(benchRow({ line, unit: 'us', ours, anchor: empty }));
  row('call that does nothing', empty);
  for (const blocks of lengths) {
    let prompt = 0;
    const reserved = { slots: [] as number[], generations: [] as number[] };
    const reserve = async (): Promise<void> => {
      Object.assign(reserved, await worker.reserve(`${blocks}-${prompt++}`, 0, blocks));
    };
    const commit = (): Promise<unknown> => {
      const { slots, generations } = reserved;
      const checksums = slots.map(() => 1n);
      const bytes = slots.map(() => 10_000n);
      return client.commit({ holderId, epoch: worker.welcome.epoch, slots, generations, checksums, bytes });
    };
    const pairs = Math.max(10, Math.min(rounds, Math.floor(40_000 / blocks)));
    const [reserves, commits]: [number[], number[]] = [[], []];
    for (let round = 0; round < pairs; round++) {
      reserves.push(await microseconds(reserve));
      commits.push(await microseconds(commit));
    }
    const known = chain(worker.namespace, `${blocks}-${prompt - 1}`, 0, blocks);
    row(`Match, ${blocks} blocks`, await timed(rounds, () => client.match({ holderId, chain: known })));
    row(`Reserve, ${blocks} blocks`, median(reserves));
    row(`Commit, ${blocks} blocks`, median(commits));
    row(
      `Onboard from host memory and Release, ${blocks} blocks`,
      await timed(pairs, async () => {
        const leaseIds: bigint[] = [];
        for await (const { leaseId } of client.onboard({ holderId, chain: known })) leaseIds.push(leaseId);
        await client.release({ holderId, leaseIds });
      }),
    );
  }
  return rows;
}

async function timed(rounds: number, call: () => Promise<unknown>): Promise<number> {
  const all: number[] = [];
  for (let round = 0; round < rounds; round++) all.push(await microseconds(call));
  return median(all);
}

async function microseconds(call: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await call();
  return 1000 * (performance.now() - start);
}

async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
