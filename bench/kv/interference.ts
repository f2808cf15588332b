// How long running streams wait for their tokens while another request's prefix comes from host memory, and while blocks of
// others are written back, against the same without.
import { type BenchRow, benchRow } from '#bench/report.ts';
import { BlockTier } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import type { WorkerProcess } from '#tests/kv-tiers/processes.ts';
import { ask, blockTokens, type Node, promptOf } from './nodes.ts';

const streams = 4;
const streamTokens = 200;
const prefixTokens = 1024;
const computedTokens = 257;
/** Of what the same streams wait alone. */
const target = 1.5;

export interface InterferenceParts {
  readonly node: Node;
  readonly worker: WorkerProcess;
  /** Another worker of the same node: it puts prompts into host memory that the first one never saw. */
  readonly writer: WorkerProcess;
  /** A worker that writes nothing back. */
  readonly silent: WorkerProcess;
  readonly prompts: number;
}

export async function measureInterference({
  node,
  worker,
  writer,
  silent,
  prompts,
}: InterferenceParts): Promise<BenchRow[]> {
  const numbers = Array.from({ length: prompts }, (_, at) => 5000 + at);
  const blocks = (await node.blocks(BlockTier.HOST)) + prompts * Math.floor(prefixTokens / blockTokens);
  for (const number of numbers) await ask(writer, promptOf(number, prefixTokens + 1));
  await node.until(BlockTier.HOST, blocks);
  const idle = await gaps(worker, 100, async () => {});
  const rest = async (): Promise<void> => {
    // As much as is left to compute of an onboarded prompt, from a prompt of its own: what onboarding itself adds.
    for (const number of numbers) await ask(worker, promptOf(number + 1000, 1));
  };
  const computing = await gaps(worker, 200, rest);
  let onboarded = 0;
  const onboarding = await gaps(worker, 300, async () => {
    for (const number of numbers) onboarded += (await ask(worker, promptOf(number, prefixTokens + 1))).cachedTokens;
  });
  const wanted = prompts * prefixTokens * 0.9;
  if (onboarded < wanted) throw new Error(`only ${onboarded} of ${prompts * prefixTokens} tokens were onboarded`);
  const compute = (by: WorkerProcess) => async (): Promise<void> => {
    for (const number of numbers) await ask(by, promptOf(number + 2000, computedTokens));
  };
  // Cells that are still cached slow every step: both begin without.
  for (const each of [silent, worker]) await each.rpc.client.clearCache({});
  const kept = await gaps(silent, 400, compute(silent));
  const writtenBack = await gaps(worker, 400, compute(worker));
  return [0.5, 0.99].flatMap((part) => {
    const name = part === 0.5 ? 'p50' : 'p99';
    const row = { unit: 'ms', line: `between tokens, ${name}, while others` };
    const [ours, alone] = [quantile(onboarding, part), quantile(idle, part)];
    const unwritten = quantile(kept, part);
    const isGoal = part === 0.99;
    return [
      benchRow({
        ...row,
        line: `${row.line} onboard, against idle`,
        ours,
        anchor: alone,
        ...(isGoal && { target: alone * target }),
      }),
      benchRow({ ...row, line: `${row.line} onboard, against short prompts`, ours, anchor: quantile(computing, part) }),
      benchRow({
        ...row,
        line: `${row.line} compute and are written back, against computing`,
        ours: quantile(writtenBack, part),
        anchor: unwritten,
        ...(isGoal && { target: unwritten * target }),
      }),
    ];
  });
}

/** Gaps between tokens of streams while `meanwhile` runs again and again. */
async function gaps(worker: WorkerProcess, seed: number, meanwhile: () => Promise<void>): Promise<number[]> {
  let isRunning = true;
  const running = Array.from({ length: streams }, (_, at) => ask(worker, promptOf(9000 + seed + at, 40), streamTokens));
  const done = Promise.all(running).finally(() => (isRunning = false));
  await meanwhile();
  while (isRunning) await Promise.race([done, new Promise((resolve) => setTimeout(resolve, 20))]);
  return (await done).flatMap(({ gapsMs }) => gapsMs);
}

function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? Number.NaN;
}
