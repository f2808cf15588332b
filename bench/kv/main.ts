// KV beyond the engine, whole: time to the first token from each tier and a peer, copies into and out of the slab, and what running
// streams feel of it. The parts alone: transfer, kv-engine, kv-disk, objectstore.
import type { BenchOptions, BenchReport, BenchRow } from '#bench/report.ts';
import { measureFirstToken } from './first-token.ts';
import { measureInterference } from './interference.ts';
import { Nodes } from './nodes.ts';
import { measureSlabCopies } from './slab-copies.ts';

export async function run({ quick }: BenchOptions): Promise<BenchReport> {
  const rows: BenchRow[] = await measureSlabCopies(quick ? 5 : 25);
  await using nodes = await Nodes.open();
  if (!nodes.hasS3) process.stderr.write('The S3 server of the tests is not here: a directory takes its place.\n');
  const { node, address } = await nodes.kvbm('near', true);
  const other = await nodes.kvbm('far', false);
  const worker = await nodes.worker(address);
  const farWorker = await nodes.worker(other.address);
  for (const tokens of quick ? [256, 1024] : [256, 1024, 4096])
    rows.push(...(await measureFirstToken({ node, worker, far: other.node, farWorker }, tokens, quick ? 1 : 3)));
  const writer = await nodes.worker(address);
  const silent = await nodes.worker(address, { kvOffload: 'off' });
  rows.push(...(await measureInterference({ node, worker, writer, silent, prompts: quick ? 3 : 8 })));
  return { bench: 'kv', rows };
}
