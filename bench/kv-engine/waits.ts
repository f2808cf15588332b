import { performance } from 'node:perf_hooks';
import { setTimeout } from 'node:timers/promises';
import { type BenchRow, benchRow } from '#bench/report.ts';
import { type EngineUnderTest, promptOf } from './engine.ts';

const never = new AbortController().signal;
const streams = 4;

/** Milliseconds between the steps of running streams, alone and while another thing goes on all the time. */
export async function measureWaits(engine: EngineUnderTest, label: string, steps: number): Promise<BenchRow[]> {
  const prompt = promptOf(1, 1024);
  await engine.generate(prompt, 0);
  const prefix = engine.prefix(prompt);
  const blocks = Math.floor(prompt.length / engine.blockSize);
  const spans = engine.room(blocks);
  await engine.kv.exportBlocks(prefix, 0, spans, never);
  const salted = { ...prefix, cacheSalt: 'again' };
  const idle = await intervals(engine, steps, () => setTimeout(5));
  const out = await intervals(engine, steps, async () => {
    await engine.kv.exportBlocks(prefix, 0, spans, never);
  });
  const into = await intervals(engine, steps, async () => {
    (await engine.kv.importBlocks(salted, 0, spans, never)).discard();
  });
  const rows = (name: string, measured: readonly number[]): BenchRow[] =>
    [0.5, 0.99].map((part) => {
      const anchor = quantile(idle, part);
      const p = part === 0.5 ? 'p50' : 'p99';
      // The target of the 99th percentile: half more than alone.
      const target = part === 0.99 ? { target: 1.5 * anchor } : {};
      return benchRow({
        line: `${label}, ${streams} streams, ${name}, ITL ${p}`,
        unit: 'ms',
        ours: quantile(measured, part),
        anchor,
        ...target,
      });
    });
  return [...rows('blocks leave', out), ...rows('blocks enter', into)];
}

async function intervals(engine: EngineUnderTest, steps: number, meanwhile: () => Promise<void>): Promise<number[]> {
  const times: number[] = [];
  engine.onStep = (step) => {
    if (step.forwardPass !== null && step.forwardPass.decodeSequences === streams) times.push(performance.now());
  };
  let running = true;
  const done = Promise.all(
    Array.from({ length: streams }, (_, index) => engine.generate(promptOf(index + 20, 40), steps)),
  ).then(() => {
    running = false;
  });
  while (running) {
    await meanwhile();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await done;
  engine.onStep = undefined;
  return times.slice(1).map((time, index) => time - (times[index] ?? time));
}

function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? Number.NaN;
}
