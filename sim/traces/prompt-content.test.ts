import { expect } from 'chai';
import fc from 'fast-check';
import { hashBlocks } from '#native/tokens/index.ts';
import { PromptHasher, tokensOfPrompt } from './prompt-content.ts';
import type { PromptShape } from './trace-request.ts';

function shape(runs: readonly (readonly [number, number])[]): PromptShape {
  return { ids: Float64Array.from(runs, ([id]) => id), lengths: Uint32Array.from(runs, ([, length]) => length) };
}

function tokenCount({ lengths }: PromptShape): number {
  return lengths.reduce((sum, length) => sum + length, 0);
}

/** Leading blocks that two columns of packed hashes have in common. */
function shared(a: Uint8Array, b: Uint8Array): number {
  let blocks = 0;
  while ((blocks + 1) * 8 <= Math.min(a.length, b.length) && Buffer.compare(part(a, blocks), part(b, blocks)) === 0)
    blocks++;
  return blocks;
}

function part(column: Uint8Array, block: number): Uint8Array {
  return column.subarray(block * 8, block * 8 + 8);
}

// Large enough that different content never has equal tokens by chance.
const vocabulary = { lowest: 1000, count: 2 ** 31 };
const runs = fc.array(fc.tuple(fc.integer({ min: -2, max: 3 }), fc.integer({ min: 1, max: 40 })), {
  minLength: 1,
  maxLength: 8,
});

describe('content of prompts', () => {
  it('shares as many blocks by its hashes as by its tokens, at any block size', () => {
    fc.assert(
      fc.property(runs, runs, fc.integer({ min: 1, max: 50 }), (first, second, blockSize) => {
        const shapes = [shape(first), shape(second)].map((prompt) => ({ prompt, tokens: tokenCount(prompt) }));
        const hasher = new PromptHasher(blockSize);
        const [a, b] = shapes.map(({ prompt, tokens }) => hasher.hash(prompt, tokens));
        const [c, d] = shapes.map(({ prompt }) => {
          const tokens = tokensOfPrompt(prompt, vocabulary);
          const { sequenceHashes } = hashBlocks(tokens, blockSize, { cacheSalt: '', adapter: '' });
          return new Uint8Array(sequenceHashes.buffer, sequenceHashes.byteOffset, sequenceHashes.byteLength);
        });
        if (a === undefined || b === undefined || c === undefined || d === undefined) throw new Error('no hashes');
        expect(a.length).to.equal(c.length);
        // One content cut in two is the same tokens; the hashes name the cut only where it lies inside of a block.
        expect(shared(a, b)).to.be.at.most(shared(c, d));
        if (blockSize > 1 && !sameCut(first, second)) return;
        expect(shared(a, b)).to.equal(shared(c, d));
      }),
    );
  });

  it('is the same for whole blocks however a prompt goes on', () => {
    const hasher = new PromptHasher(64);
    const long = shape([
      [1, 512],
      [2, 512],
      [3, 100],
    ]);
    const other = shape([
      [1, 512],
      [2, 300],
    ]);
    const a = hasher.hash(long, tokenCount(long)).slice();
    const b = hasher.hash(other, tokenCount(other)).slice();
    expect([a.length, b.length]).to.deep.equal([17 * 8, 12 * 8]);
    expect(shared(a, b)).to.equal(12);
  });

  it('tells ids apart in all of their bits, negative ones too', () => {
    const hasher = new PromptHasher(4);
    const ids = [0, 1, -1, 2 ** 32, 2 ** 32 + 1, 2 ** 52, -(2 ** 40), 2 ** 53 - 1];
    const hashes = ids.map((id) => Buffer.from(hasher.hash(shape([[id, 4]]), 4)).toString('hex'));
    expect(new Set(hashes).size).to.equal(ids.length);
    const tokens = ids.map((id) => tokensOfPrompt(shape([[id, 8]]), vocabulary).join());
    expect(new Set(tokens).size).to.equal(ids.length);
  });

  it('makes tokens of the given vocabulary only', () => {
    const tokens = tokensOfPrompt(shape([[7, 10_000]]), { lowest: 50, count: 10 });
    expect(new Set(tokens)).to.deep.equal(new Set([50, 51, 52, 53, 54, 55, 56, 57, 58, 59]));
  });
});

/** Whether runs of equal content are cut at the same places, as they are in every trace. */
function sameCut(
  first: readonly (readonly [number, number])[],
  second: readonly (readonly [number, number])[],
): boolean {
  for (let run = 0; run < Math.min(first.length, second.length); run++) {
    if (first[run]?.[0] !== second[run]?.[0]) return true;
    if (first[run]?.[1] !== second[run]?.[1]) return run === Math.min(first.length, second.length) - 1;
  }
  return true;
}
