import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import fc from 'fast-check';
import { Tier } from '#gen/stator/events/v1/events_pb.ts';
import { hashBlocks, hashChain } from '#native/tokens/index.ts';
import { unpackHashes } from '../tokens/packed-hashes.ts';
import { decodeEventBatch } from './decode-batch.ts';
import type { EngineEvent } from './engine-event.ts';
import { EventConverter, type KvChange } from './event-converter.ts';
import { MsgpackError } from './msgpack-reader.ts';

/** What tests/fixtures/kv-events/record_vllm.py wrote. */
interface Recorded {
  readonly blockSize: number;
  readonly steps: readonly { readonly prompts?: readonly number[][]; readonly cache_salt?: string }[];
  readonly messages: readonly string[];
}

const saltPrefix = 'stator-cache-salt:';

/** Applies a recording as a router would. */
function follow({ blockSize, messages }: Pick<Recorded, 'blockSize' | 'messages'>) {
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
    if ((change.case !== 'stored' && change.case !== 'removed') || change.value.tier !== Tier.DEVICE) return;
    for (const hash of unpackHashes(change.value.sequenceHashes)) {
      if (change.case === 'removed') expect(index.delete(hash)).to.equal(true);
      else index.add(hash);
      everStored.add(hash);
    }
  };
  for (const hex of messages) {
    for (const event of decode(hex, told)) for (const change of converter.convert(event)) apply(change);
    largest = Math.max(largest, index.size);
  }
  return { index, everStored, told, largest, snapshot: converter.snapshot() };
}

function decode(hex: string, told: string[]): readonly EngineEvent[] {
  try {
    const { events, malformed } = decodeEventBatch(Buffer.from(hex, 'hex'));
    told.push(...malformed);
    return events;
  } catch (error) {
    if (!(error instanceof MsgpackError)) throw error;
    told.push(error.message);
    return [];
  }
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

  it('never tell of a block twice or of one that is not there, whatever happens to their bytes', () => {
    const file = new URL('../../tests/fixtures/kv-events/vllm-hybrid.json', import.meta.url);
    const { blockSize, messages }: Recorded = JSON.parse(readFileSync(file, 'utf8'));
    const change = fc.record({ message: fc.nat(messages.length - 1), at: fc.nat(), byte: fc.nat(255) });
    const order = fc.shuffledSubarray([...messages.keys()], { minLength: 5 });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), fc.boolean(), order, (changes, shuffle, shuffled) => {
        const bytes = messages.map((hex) => Buffer.from(hex, 'hex'));
        for (const { message, at, byte } of changes) {
          const target = bytes[message];
          if (target !== undefined) target[at % target.length] = byte;
        }
        const inOrder = shuffle ? shuffled.map((i) => bytes[i] ?? Buffer.alloc(0)) : bytes;
        const { index, snapshot } = follow({ blockSize, messages: inOrder.map((b) => b.toString('hex')) });
        const held = snapshot.flatMap(({ change: c }) =>
          c.case === 'stored' && c.value.tier === Tier.DEVICE ? [...unpackHashes(c.value.sequenceHashes)] : [],
        );
        expect(new Set(held)).to.deep.equal(index);
        expect(held).to.have.length(index.size);
      }),
      { numRuns: 300 },
    );
  });
});
