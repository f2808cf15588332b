import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { hashBlocks, hashChain } from '#native/tokens/index.ts';
import { unpackHashes } from '../tokens/packed-hashes.ts';
import { decodeEventBatch } from './decode-batch.ts';
import { EventConverter, type KvChange } from './event-converter.ts';

/** What tests/fixtures/kv-events/record_vllm.py wrote. */
interface Recorded {
  readonly blockSize: number;
  readonly steps: readonly { readonly prompts?: readonly number[][]; readonly cache_salt?: string }[];
  readonly messages: readonly string[];
}

const saltPrefix = 'stator-cache-salt:';

/** Applies a recording as a router would. */
function follow({ blockSize, messages }: Recorded) {
  const index = new Set<bigint>();
  const everStored = new Set<bigint>();
  const told: string[] = [];
  let largest = 0;
  const placeholders = { image: null, video: null };
  const converter = new EventConverter(
    { dataParallelRank: 0, blockSize, maxBlocks: 1000, placeholders, hashChain },
    {
      applied: () => {},
      unmatched: (blocks) => told.push(`unmatched ${blocks}`),
      dropped: (reason) => told.push(reason),
    },
  );
  const apply = ({ change }: KvChange): void => {
    if (change.case === 'cleared') index.clear();
    if (change.case !== 'stored' && change.case !== 'removed') return;
    for (const hash of unpackHashes(change.value.sequenceHashes)) {
      if (change.case === 'removed') expect(index.delete(hash)).to.equal(true);
      else index.add(hash);
      everStored.add(hash);
    }
  };
  for (const hex of messages) {
    const { events, malformed } = decodeEventBatch(Buffer.from(hex, 'hex'));
    expect(malformed).to.deep.equal([]);
    for (const event of events) for (const change of converter.convert(event)) apply(change);
    largest = Math.max(largest, index.size);
  }
  return { index, everStored, told, largest };
}

function promptHashes({ blockSize, steps }: Recorded): bigint[][] {
  return steps.flatMap(({ prompts = [], cache_salt = '' }) =>
    prompts.map((ids) => {
      const o = { adapter: '', cacheSalt: cache_salt.slice(saltPrefix.length) };
      return [...hashBlocks(Uint32Array.from(ids), blockSize, o).sequenceHashes];
    }),
  );
}

describe('recordings of vLLM', () => {
  for (const [name, ordinary] of [
    ['vllm.json', []],
    ['vllm-hybrid.json', ['other_attention']],
  ] as const)
    it(`are followed to the end: ${name}`, () => {
      const file = new URL(`../../tests/fixtures/kv-events/${name}`, import.meta.url);
      const recorded: Recorded = JSON.parse(readFileSync(file, 'utf8'));
      const { index, everStored, told, largest } = follow(recorded);
      const prompts = promptHashes(recorded);
      // Every block of every prompt was stored under the hash that a router gives it, and nothing else was.
      expect(everStored).to.deep.equal(new Set(prompts.flat()));
      // After the reset comes the last prompt alone.
      expect(index).to.deep.equal(new Set(prompts.at(-1)));
      expect([...new Set(told)]).to.deep.equal(ordinary);
      expect(largest).to.be.within(10, 28);
    });
});
