import type { EngineRun } from './engine-model.ts';
import type { EngineState } from './engine-state.ts';
import type { PassDuration } from './pass-duration.ts';
import type { EngineSequence } from './sequence.ts';

interface Bounds {
  readonly nowMs: number;
  readonly untilMs: number;
  readonly maxSteps: number;
}

/** Entries of the columns that runs share; longer runs are cut. */
const longest = 4096;
const durations = new Float64Array(longest);
/** For each step of the run at hand modulo the block size: who begins or fills a block in it, in the order of the batch. */
const due: EngineSequence[][] = [];

/**
 * Decode passes in which every running sequence gets one token, one after the other as the engine would make them, but only
 * sequences that begin or fill a block are looked at. The caller knows that nobody can be admitted. Undefined: the next pass
 * does something else, or a sequence ends in it, or blocks run short.
 */
export function fastForward(state: EngineState, duration: PassDuration, o: Bounds): EngineRun | undefined {
  const { running, cache } = state;
  const { blockSize } = state.settings;
  let steps = Math.min(o.maxSteps, longest);
  let contextTokens = 0;
  for (const sequence of running) {
    if (sequence.length - sequence.computed !== 1 || sequence.pendingPrefill > 0 || sequence.role === 'prefill')
      return undefined;
    steps = Math.min(steps, sequence.remainingTokens - 1);
    contextTokens += sequence.length;
  }
  const count = running.length;
  if (count === 0 || steps < 1 || !(o.nowMs < o.untilMs)) return undefined;
  findDue(running, blockSize, steps);
  let nowMs = o.nowMs;
  let made = 0;
  while (made < steps && nowMs < o.untilMs) {
    const now = due[made % blockSize] ?? [];
    if (!hasRoom(state, now, made)) break;
    for (const sequence of now) advanceBlocks(state, sequence, made);
    const ms = duration.decodeMs(count, contextTokens);
    durations[made++] = ms;
    contextTokens += count;
    cache.log?.stamp(nowMs);
    nowMs += ms;
  }
  if (made === 0) return undefined;
  const ids = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const sequence = running[i];
    if (sequence === undefined) continue;
    // advanceBlocks has moved `computed` of those it touched; all end at the same place.
    sequence.computed = sequence.length - 1 + made;
    sequence.outputTokens += made;
    ids[i] = sequence.id;
  }
  return { startMs: o.nowMs, steps: made, durationsMs: durations, endMs: nowMs, count, ids };
}

/** Fills `due`. */
function findDue(running: readonly EngineSequence[], blockSize: number, steps: number): void {
  const length = Math.min(steps, blockSize);
  while (due.length < length) due.push([]);
  // A length is dear to set, and most are 0.
  for (const now of due) if (now.length > 0) now.length = 0;
  for (const sequence of running) {
    const inBlock = sequence.computed % blockSize;
    const begins = (blockSize - inBlock) % blockSize;
    const fills = blockSize - 1 - inBlock;
    if (begins < length) due[begins]?.push(sequence);
    if (fills !== begins && fills < length) due[fills]?.push(sequence);
  }
}

/** Whether everyone who begins a block gets one without taking it from a running sequence. */
function hasRoom({ cache, settings }: EngineState, due: readonly EngineSequence[], made: number): boolean {
  if (cache.pool.available >= due.length) return true;
  let begins = 0;
  for (const sequence of due) if ((sequence.length - 1 + made) % settings.blockSize === 0) begins++;
  return begins <= cache.pool.available;
}

/** What pass number `made` of the run does to the blocks of a sequence. */
function advanceBlocks({ cache }: EngineState, sequence: EngineSequence, made: number): void {
  sequence.computed = sequence.length - 1 + made + 1;
  cache.grow(sequence, sequence.computed);
  cache.commit(sequence);
}
