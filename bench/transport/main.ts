// What the session stream costs: CPU microseconds per token of worker and gateway, as processes of their own, paced as
// continuous batching paces them. Variants run interleaved, so that a busy machine disturbs all of them alike.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { type BenchOptions, type BenchReport, type BenchRow, benchRow, median } from '#bench/report.ts';
import { ANCHOR, CHOSEN, type Plan, type ToParent, type Variant, variants } from './variants.ts';

const WIDTHS = [1, 64, 256];
/** Most microseconds per token and side at 256 sequences. */
const TARGET = 3;

interface Cost {
  readonly worker: number;
  readonly gateway: number;
}

export async function run({ quick }: BenchOptions): Promise<BenchReport> {
  const rounds = quick ? 1 : 3;
  const steps = quick ? 100 : 600;
  const rows: BenchRow[] = [];
  for (const width of WIDTHS) {
    const costs = new Map<Variant, Cost[]>(variants.map((variant) => [variant, []]));
    for (let round = 0; round < rounds; round++)
      for (const variant of variants)
        costs.get(variant)?.push(await measure({ variant, width, stepMs: 5, warmupSteps: quick ? 50 : 300, steps }));
    rows.push(...rowsOf(width, costs));
  }
  return { bench: 'transport', rows };
}

function rowsOf(width: number, costs: ReadonlyMap<Variant, readonly Cost[]>): BenchRow[] {
  const cost = (variant: Variant, side: keyof Cost): number =>
    round(median((costs.get(variant) ?? []).map((one) => one[side])));
  const row = (variant: Variant, side: keyof Cost): BenchRow =>
    benchRow({
      line: `${width} wide, ${side}, ${variant}${variant === CHOSEN ? ' (ours)' : ''}`,
      unit: 'CPU µs/token',
      ours: cost(variant, side),
      anchor: cost(ANCHOR, side),
      ...(width === 256 && variant === CHOSEN && { target: TARGET }),
    });
  const compared = variants.filter((variant) => variant !== ANCHOR);
  return compared.flatMap((variant) => [row(variant, 'worker'), row(variant, 'gateway')]);
}

async function measure(plan: Plan): Promise<Cost> {
  const worker = start('worker.ts', plan);
  const children = [worker];
  try {
    const listening = await next(worker);
    if (listening.kind !== 'listening') throw new Error('worker did not listen');
    const gateway = start('gateway.ts', plan, listening.address);
    children.push(gateway);
    const [workerDone, gatewayDone] = await Promise.all([next(worker), next(gateway)]);
    return { worker: perToken(workerDone), gateway: perToken(gatewayDone) };
  } finally {
    for (const child of children) child.kill('SIGKILL');
  }
}

function start(file: string, plan: Plan, ...args: string[]): ChildProcess {
  return fork(path.join(import.meta.dirname, file), [JSON.stringify(plan), ...args]);
}

async function next(child: ChildProcess): Promise<ToParent> {
  const exited = once(child, 'exit').then(([code]) => {
    throw new Error(`a benchmark process ended early (${code})`);
  });
  exited.catch(() => {});
  const [message] = await Promise.race([once(child, 'message'), exited]);
  return message as ToParent;
}

function perToken(done: ToParent): number {
  if (done.kind !== 'done') throw new Error('unexpected message of a benchmark process');
  return done.cpuMicros / done.tokens;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
