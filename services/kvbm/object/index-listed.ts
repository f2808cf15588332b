import { setImmediate as nextTurn } from 'node:timers/promises';
import { BlockError } from '#core/blocks/block-error.ts';
import type { BlockManager } from '#core/blocks/block-manager.ts';
import { nowhere } from '#core/blocks/reading.ts';
import type { BlockHeader } from '#core/blocks/record/block-header.ts';
import { tiers } from '#core/blocks/tiers.ts';
import { commitOutcomes } from '#core/blocks/writing.ts';
import type { Layout } from '../layout.ts';
import { type KnownNamespace, namespaceNumber } from '../namespace-book.ts';
import { splitWords, wordsOf } from '../records.ts';

/** An object that a listing showed. */
export interface Listed {
  /** 32 hexadecimal digits. */
  readonly digest: string;
  readonly modifiedMs: number;
}

/** The newest of what a listing shows, so many at most. */
export class Newest {
  readonly #most: number;
  #listed: Listed[] = [];

  constructor(most: number) {
    this.#most = most;
  }

  add(one: Listed): void {
    if (this.#most === 0) return;
    this.#listed.push(one);
    if (this.#listed.length >= 2 * this.#most) this.#listed = this.take();
  }

  take(): Listed[] {
    return this.#listed.toSorted((a, b) => b.modifiedMs - a.modifiedMs).slice(0, this.#most);
  }
}

export interface IndexParts {
  readonly manager: BlockManager;
  /** Reserves places in the index. */
  readonly holder: number;
  readonly namespace: KnownNamespace;
  readonly layout: Layout;
  /** The record of an object; undefined: it is gone, none of ours or cannot be read. Never rejects. */
  readonly read: (digest: Uint32Array) => Promise<BlockHeader | undefined>;
  /** False once nothing may enter the index any more. */
  readonly goesOn: () => boolean;
}

/** Records that are read at once: others need the store more urgently. */
const readers = 4;
const turnBlocks = 256;

/**
 * Reads the records of listed objects and takes them into this node's index, as far as it has free places: nothing that is
 * in it makes way. Whoever follows the presence is told. Resolves with how many.
 */
export async function indexListed(listed: readonly Listed[], parts: IndexParts): Promise<number> {
  const { manager, namespace, layout, read, goesOn } = parts;
  const number = namespaceNumber(manager, namespace, layout);
  const wanted = listed.slice(0, freePlaces(manager, layout));
  const headers: BlockHeader[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let one = wanted[next++]; one !== undefined && goesOn(); one = wanted[next++]) {
      const digest = wordsOf(one.digest);
      const header = isIndexed(manager, number, digest) ? undefined : await read(digest);
      if (header !== undefined) headers.push(header);
    }
  };
  await Promise.all(Array.from({ length: readers }, work));
  // A block is of no use without those before it.
  headers.sort((a, b) => a.position - b.position);
  let indexed = 0;
  for (const [at, header] of headers.entries()) {
    if (at % turnBlocks === turnBlocks - 1) await nextTurn();
    if (!goesOn()) break;
    if (take(parts, number, header)) indexed++;
  }
  return indexed;
}

function take({ manager, holder, layout }: IndexParts, namespace: number, header: BlockHeader): boolean {
  const { parent, position, digest, sequenceHash, payloadBytes } = header;
  if (payloadBytes > layout.blockBytes || freePlaces(manager, layout) === 0) return false;
  if (parent !== null && manager.scan(namespace, parent.digest)[0] === nowhere) return false;
  const chain = { namespace, parent, startBlock: position, digests: digest };
  const sequenceHashes = BigUint64Array.of(sequenceHash);
  try {
    const place = manager.reserve(holder, tiers.object, { ...chain, sequenceHashes }, Math.min(15, header.priority));
    if (place.slots.length === 0) return false;
    const { checksumLow, checksumHigh } = splitWords(header.payloadChecksum);
    const checksums = Uint32Array.of(checksumLow, checksumHigh);
    const [outcome] = manager.commit(holder, { ...place, checksums, sizes: Uint32Array.of(payloadBytes) });
    return outcome === commitOutcomes.registered;
  } catch (thrown) {
    if (thrown instanceof BlockError) return false;
    throw thrown;
  }
}

function isIndexed(manager: BlockManager, namespace: number, digest: Uint32Array): boolean {
  return manager.slotOf(tiers.object, namespace, digest, 0) >= 0;
}

function freePlaces(manager: BlockManager, layout: Layout): number {
  return manager.use().find(({ tier, arena }) => tier === tiers.object && arena === layout.index)?.free ?? 0;
}
