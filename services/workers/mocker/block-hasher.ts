import type { OutputHasher } from '#core/scheduling/engine/settings.ts';
import { hashBlocks, xxh3 } from '#native/tokens/index.ts';
import type { MockerSequence } from './sequence.ts';

/** Seed of the chain of sequence hashes. */
const chainSeed = 1337n;

/** Hashes blocks of output from the tokens in them, as every engine does; `onBlock` is told of each. */
export function outputHasher(
  blockSize: number,
  sequenceOf: (id: number) => MockerSequence | undefined,
  onBlock: (sequence: MockerSequence, id: number, index: number, hash: bigint) => void,
): OutputHasher {
  const pair = new DataView(new ArrayBuffer(16));
  const bytes = new Uint8Array(pair.buffer);
  return {
    hash(id, index, parentLow, parentHigh, into) {
      const sequence = sequenceOf(id);
      if (sequence === undefined) throw new RangeError(`there is no sequence ${id}`);
      const tokens = Uint32Array.from(sequence.tokens.slice(index * blockSize, (index + 1) * blockSize));
      const local = hashBlocks(tokens, blockSize, sequence.salts).localHashes[0] ?? 0n;
      pair.setUint32(0, parentLow, true);
      pair.setUint32(4, parentHigh, true);
      pair.setBigUint64(8, local, true);
      const hash = index === 0 ? local : xxh3(bytes, chainSeed);
      write(hash, into, 0);
      write(local, into, 2);
      onBlock(sequence, id, index, hash);
    },
  };
}

function write(hash: bigint, into: Uint32Array, at: number): void {
  into[at] = Number(hash & 0xffff_ffffn);
  into[at + 1] = Number(hash >> 32n);
}
