import { performance } from 'node:perf_hooks';
import { type EngineUnderTest, promptOf } from './engine.ts';

export interface Copies {
  readonly bytes: number;
  readonly outUs: number[];
  readonly inUs: number[];
  /** What computing the same tokens took once. */
  readonly computeMs: number;
}

const never = new AbortController().signal;

/** Exports and imports the blocks of one prompt in an engine that does nothing else, from the call to its answer. */
export async function measureCopies(engine: EngineUnderTest, tokens: number, rounds: number): Promise<Copies> {
  const prompt = promptOf(1, tokens);
  const started = performance.now();
  await engine.generate(prompt, 0);
  const computeMs = performance.now() - started;
  const prefix = engine.prefix(prompt);
  const blocks = tokens / engine.blockSize;
  const spans = engine.room(blocks);
  const outUs: number[] = [];
  const inUs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    const exported = await engine.kv.exportBlocks(prefix, 0, spans, never);
    outUs.push((performance.now() - start) * 1000);
    if (exported.length !== blocks) throw new Error(`only ${exported.length} blocks left`);
    await engine.clearCache();
    const middle = performance.now();
    const imported = await engine.kv.importBlocks(prefix, 0, spans, never);
    const hold = await imported.accept(blocks);
    inUs.push((performance.now() - middle) * 1000);
    if (hold.blocks !== blocks) throw new Error(`only ${hold.blocks} blocks entered`);
    hold.release();
  }
  return { bytes: blocks * engine.kv.format.blockBytes, outUs, inUs, computeMs };
}
