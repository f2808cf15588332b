// What a token costs on its way from the engine to the client: CPU microseconds of gateway and worker, each a process of its
// own, paced as continuous batching paces tokens; and in the same run what the bare sockets cost.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type BenchOptions, type BenchReport, type BenchRow, benchRow, median } from '#bench/report.ts';
import { ANCHOR, CHOSEN } from '#bench/transport/variants.ts';
import type { FromChild, ToChild } from './child.ts';
import { type FrameCost, measureFrames } from './frames.ts';
import type { Plan } from './plan.ts';

const widths = [1, 64, 256];
const stepMs = 20;
const burst = 4;
/** Microseconds per token from worker to gateway at 256 streams, each side. */
const sessionTarget = 3;
/** The SSE side against bare socket writes. */
const sseTarget = 1.5;

/** CPU microseconds per token of one round. */
interface Costs {
  readonly gateway: number;
  readonly worker: number;
  readonly receiver: number;
  /** The session by itself, and own framing on a bare TCP socket. */
  readonly frames: FrameCost;
  readonly rawFrames: FrameCost;
  readonly rawSse: number;
  /** Gateway and receiver where every step brings several tokens of each stream. */
  readonly burstGateway: number;
  readonly burstReceiver: number;
}

interface Timing {
  readonly warmupMs: number;
  readonly measureMs: number;
}

export async function run({ quick }: BenchOptions): Promise<BenchReport> {
  const timing = quick ? { warmupMs: 1000, measureMs: 1500 } : { warmupMs: 3000, measureMs: 4000 };
  const rows: BenchRow[] = [];
  for (const width of widths) {
    const rounds: Costs[] = [];
    // Only the widest has targets, and so the rounds that a median needs.
    const most = quick || width < 256 ? 1 : 3;
    for (let round = 0; round < most; round++) rounds.push(await measureAll(width, timing));
    rows.push(...rowsOf(width, rounds));
  }
  return { bench: 'hotpath', rows };
}

function rowsOf(width: number, rounds: readonly Costs[]): BenchRow[] {
  const unit = 'CPU µs/token';
  const cost = (of: (costs: Costs) => number): number => Math.round(median(rounds.map(of)) * 100) / 100;
  const target = width === 256 ? { target: sessionTarget } : {};
  const raw = cost((costs) => costs.rawSse);
  const sse = cost((costs) => costs.gateway - costs.receiver);
  const burstSse = cost((costs) => costs.burstGateway - costs.burstReceiver);
  return [
    benchRow({ line: `${width} streams, gateway, all`, unit, ours: cost((costs) => costs.gateway) }),
    benchRow({ line: `${width} streams, worker, all`, unit, ours: cost((costs) => costs.worker) }),
    benchRow({
      line: `${width} streams, session at the gateway`,
      unit,
      ours: cost((costs) => costs.receiver),
      anchor: cost((costs) => costs.rawFrames.gateway),
      ...target,
    }),
    benchRow({
      line: `${width} streams, session at the worker`,
      unit,
      ours: cost((costs) => costs.frames.worker),
      anchor: cost((costs) => costs.rawFrames.worker),
      ...target,
    }),
    benchRow({
      line: `${width} streams, SSE side, one by one`,
      unit,
      ours: sse,
      anchor: raw,
      ...(width === 256 ? { target: Math.round(raw * sseTarget * 100) / 100 } : {}),
    }),
    benchRow({
      line: `${width} streams, SSE side, ${burst} at once`,
      unit,
      ours: burstSse,
      anchor: raw,
      ...(width === 256 ? { target: sse } : {}),
    }),
    benchRow({
      line: `${width} streams, gateway, all, ${burst} at once`,
      unit,
      ours: cost((costs) => costs.burstGateway),
    }),
  ];
}

async function measureAll(width: number, timing: Timing): Promise<Costs> {
  const one = await measureGateway(width, 1, timing);
  const receiver = await measureReceiver(width, 1, timing);
  const rawSse = await measureRawSse(width, timing);
  const several = await measureGateway(width, burst, timing);
  const burstReceiver = await measureReceiver(width, burst, timing);
  const frames = await measureFrames(CHOSEN, { width, stepMs, ...timing });
  const rawFrames = await measureFrames(ANCHOR, { width, stepMs, ...timing });
  return {
    gateway: one.gateway,
    worker: one.worker,
    receiver,
    frames,
    rawFrames,
    rawSse,
    burstGateway: several.gateway,
    burstReceiver,
  };
}

async function measureGateway(
  width: number,
  tokens: number,
  timing: Timing,
): Promise<{ gateway: number; worker: number }> {
  return withProcesses({ width, burst: tokens, stepMs }, async (start) => {
    const worker = await start('worker.ts');
    const gateway = await start('gateway.ts');
    await start('load.ts', gateway.address);
    const [gatewayCost = 0, workerCost = 0] = await measure([gateway.child, worker.child], timing);
    return { gateway: gatewayCost, worker: workerCost };
  });
}

async function measureReceiver(width: number, tokens: number, timing: Timing): Promise<number> {
  return withProcesses({ width, burst: tokens, stepMs }, async (start) => {
    const worker = await start('worker.ts');
    const receiver = await start('receiver.ts', worker.address);
    const [cost = 0] = await measure([receiver.child], timing);
    return cost;
  });
}

async function measureRawSse(width: number, timing: Timing): Promise<number> {
  return withProcesses({ width, burst: 1, stepMs }, async (start) => {
    const server = await start('raw-sse.ts');
    await start('load.ts', server.address);
    const [cost = 0] = await measure([server.child], timing);
    return cost;
  });
}

interface Started {
  readonly child: ChildProcess;
  readonly address: string;
}

/** Runs with processes that end with the measurement, whatever happens, and a discovery folder of its own. */
async function withProcesses<T>(
  plan: Omit<Plan, 'discoveryPath'>,
  use: (start: (file: string, ...args: string[]) => Promise<Started>) => Promise<T>,
): Promise<T> {
  const discoveryPath = await mkdtemp(path.join(tmpdir(), 'stator-hotpath-'));
  const children: ChildProcess[] = [];
  try {
    return await use(async (file, ...args) => {
      const child = fork(path.join(import.meta.dirname, file), [JSON.stringify({ ...plan, discoveryPath }), ...args]);
      children.push(child);
      const message = await next(child);
      if (message.kind !== 'ready') throw new Error(`${file} did not get ready`);
      return { child, address: message.address };
    });
  } finally {
    for (const child of children) child.kill('SIGKILL');
    await rm(discoveryPath, { recursive: true, force: true });
  }
}

/** CPU microseconds per token of each process over the same stretch of time. */
async function measure(children: readonly ChildProcess[], timing: Timing): Promise<number[]> {
  const send = (message: ToChild): void => {
    for (const child of children) child.send(message);
  };
  await sleep(timing.warmupMs);
  send('begin');
  await sleep(timing.measureMs);
  const costs = Promise.all(children.map(next));
  send('end');
  return (await costs).map((cost) => {
    if (cost.kind !== 'cost' || cost.tokens === 0) throw new Error('a process counted no tokens');
    return cost.cpuMicros / cost.tokens;
  });
}

async function next(child: ChildProcess): Promise<FromChild> {
  const exited = once(child, 'exit').then(([code]) => {
    throw new Error(`a benchmark process ended early (${code})`);
  });
  exited.catch(() => {});
  const [message] = await Promise.race([once(child, 'message'), exited]);
  return message as FromChild;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
