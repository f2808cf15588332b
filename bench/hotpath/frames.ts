// What carrying frames costs each side by itself, without engine and without SSE: the processes of bench/transport.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import type { Plan, ToParent, Variant } from '#bench/transport/variants.ts';

export interface FrameCost {
  readonly worker: number;
  readonly gateway: number;
}

/** CPU microseconds per token of worker and gateway. */
export async function measureFrames(
  variant: Variant,
  o: { width: number; stepMs: number; warmupMs: number; measureMs: number },
): Promise<FrameCost> {
  const { width, stepMs } = o;
  const warmupSteps = Math.ceil(o.warmupMs / stepMs);
  const plan: Plan = { variant, width, stepMs, warmupSteps, steps: Math.ceil(o.measureMs / stepMs) };
  const worker = start('worker.ts', plan);
  const children = [worker];
  try {
    const listening = await next(worker);
    if (listening.kind !== 'listening') throw new Error('the worker did not listen');
    const gateway = start('gateway.ts', plan, listening.address);
    children.push(gateway);
    const [workerDone, gatewayDone] = await Promise.all([next(worker), next(gateway)]);
    return { worker: perToken(workerDone), gateway: perToken(gatewayDone) };
  } finally {
    for (const child of children) child.kill('SIGKILL');
  }
}

function start(file: string, plan: Plan, ...args: string[]): ChildProcess {
  return fork(path.join(import.meta.dirname, '..', 'transport', file), [JSON.stringify(plan), ...args]);
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
