import {
  engineKvAccept,
  engineKvCopy,
  engineKvFormat,
  engineKvRelease,
  engineSnapshot,
  type NativeKvSpan,
} from '../index.ts';
import { replay, type TestEngine } from './harness.ts';

let nextId = 1;

interface Names {
  readonly adapter?: string;
  readonly cacheSalt?: string;
}

/** Memory for so many blocks, in one piece. */
export function room(engine: TestEngine, blocks: number): NativeKvSpan[] {
  const bytes = engineKvFormat(engine.handle)?.blockBytes ?? 0;
  const memory = Buffer.alloc(blocks * bytes);
  return Array.from({ length: blocks }, (_, index) => ({ memory, offset: index * bytes, bytes }));
}

export function bytesOf({ memory, offset, bytes }: NativeKvSpan): Buffer {
  return Buffer.from(memory.subarray(offset, offset + bytes));
}

export function spanOf(bytes: Uint8Array): NativeKvSpan {
  return { memory: bytes, offset: 0, bytes: bytes.length };
}

/** A copy that was begun, and the number to cancel it with. */
export function beginExport(
  engine: TestEngine,
  tokenIds: Uint32Array,
  from: number,
  blocks: number,
  names: Names = {},
): { id: number; result: Promise<Buffer[]> } {
  const id = nextId++;
  const spans = room(engine, blocks);
  const request = { id, imports: false, tokenIds, adapter: '', cacheSalt: '', from, spans, ...names };
  const result = engineKvCopy(engine.handle, request).then((count) => spans.slice(0, count).map(bytesOf));
  return { id, result };
}

/** The bytes of the blocks that the engine has, of those from block `from` on. */
export async function exportBlocks(
  engine: TestEngine,
  tokenIds: Uint32Array,
  from: number,
  blocks: number,
  names: Names = {},
): Promise<Buffer[]> {
  return beginExport(engine, tokenIds, from, blocks, names).result;
}

export function beginImport(
  engine: TestEngine,
  tokenIds: Uint32Array,
  from: number,
  blocks: readonly Uint8Array[],
  names: Names = {},
): { id: number; result: Promise<number> } {
  const id = nextId++;
  const request = { imports: true, tokenIds, adapter: '', cacheSalt: '', from, spans: blocks.map(spanOf), ...names };
  return { id, result: engineKvCopy(engine.handle, { id, ...request }) };
}

export interface TestHold {
  readonly blocks: number;
  release(): Promise<void>;
}

/** Imports and accepts. */
export async function importBlocks(
  engine: TestEngine,
  tokenIds: Uint32Array,
  from: number,
  blocks: readonly Uint8Array[],
  names: Names = {},
): Promise<TestHold> {
  const { id, result } = beginImport(engine, tokenIds, from, blocks, names);
  await result;
  const held = await engineKvAccept(engine.handle, id, blocks.length);
  return { blocks: held, release: () => engineKvRelease(engine.handle, id) };
}

export function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'none',
    (thrown: unknown) => (thrown instanceof Error && 'code' in thrown ? String(thrown.code) : String(thrown)),
  );
}

/** Blocks cached and in use after everything that was asked before; throws where events and cache disagree. */
export async function accounts(engine: TestEngine): Promise<{ cached: number; active: number }> {
  const snapshot = replay(await engineSnapshot(engine.handle));
  const reported = replay(engine.changes);
  if (snapshot.size !== reported.size || [...snapshot.keys()].some((hash) => !reported.has(hash)))
    throw new Error('events and cache disagree');
  const load = engine.steps.at(-1)?.load;
  return { cached: load?.cachedBlocks ?? -1, active: load?.activeBlocks ?? -1 };
}

/** Tokens of a prompt that shares no block with one of another seed. */
export function promptOf(seed: number, length: number, vocab = 512): Uint32Array {
  return Uint32Array.from({ length }, (_, index) => (seed * 101 + index * 37 + ((index * seed) % 11)) % vocab);
}

/** The numbers of a block of f32, with the few words that say its structure. */
export function numbersOf(block: Buffer): Float32Array {
  const { buffer, byteOffset, length } = block.subarray(128);
  return new Float32Array(buffer.slice(byteOffset, byteOffset + length));
}

/** The largest difference between two numbers in the same place; NaN where one of them is none. */
export function farthest(some: Float32Array, others: Float32Array | undefined): number {
  let most = 0;
  for (const [at, value] of some.entries()) {
    const difference = Math.abs(value - (others?.[at] ?? Number.NaN));
    if (Number.isNaN(difference)) return difference;
    most = Math.max(most, difference);
  }
  return most;
}
