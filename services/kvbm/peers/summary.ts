import { setImmediate as nextTurn } from 'node:timers/promises';
import type { BlockManager } from '#core/blocks/block-manager.ts';
import { tiers } from '#core/blocks/tiers.ts';
import { wordsOf } from '../records.ts';

/** Bits of a block: one in 40 questions about a block that is not there is answered wrongly. */
const probes = 4;
const bitsPerBlock = 8;
const minBytes = 64;
const maxBytes = 64 << 20;
/** Slots that are looked at before other work has its turn. */
const sliceSlots = 2000;

/** What a node may have: a Bloom filter, as SummarizeBlocksResponse describes it. */
export interface Summary {
  readonly version: bigint;
  readonly filter: Uint8Array;
  readonly probes: number;
  readonly blocks: number;
}

/** Whether a node that gave this summary may have a block. */
export function mayHave(
  { filter, probes: count }: Summary,
  namespaceDigest: Uint32Array,
  digest: Uint32Array,
): boolean {
  const mask = filter.length * 8 - 1;
  const { first, step } = keyOf(namespaceDigest, digest);
  for (let i = 0; i < count; i++) {
    const bit = (first + Math.imul(i, step)) & mask;
    if (((filter[bit >>> 3] ?? 0) & (1 << (bit & 7))) === 0) return false;
  }
  return filter.length > 0;
}

/** The summary of this node's host memory and disk; made anew when it is asked for and old. */
export class OwnSummary {
  readonly #manager: BlockManager;
  readonly #nowMs: () => number;
  readonly #maxAgeMs: number;
  #current: Summary = { version: 0n, filter: new Uint8Array(0), probes, blocks: 0 };
  #madeMs = Number.NEGATIVE_INFINITY;
  #making: Promise<Summary> | undefined;

  constructor(manager: BlockManager, options: { readonly nowMs: () => number; readonly maxAgeMs: number }) {
    this.#manager = manager;
    this.#nowMs = options.nowMs;
    this.#maxAgeMs = options.maxAgeMs;
  }

  async get(): Promise<Summary> {
    if (this.#nowMs() - this.#madeMs < this.#maxAgeMs) return this.#current;
    this.#making ??= this.#make().finally(() => (this.#making = undefined));
    return this.#making;
  }

  async #make(): Promise<Summary> {
    const madeMs = this.#nowMs();
    const arenas = this.#manager.use().filter(({ tier }) => tier !== tiers.object);
    const registered = arenas.reduce((sum, { registered: count }) => sum + count, 0);
    const filter = new Uint8Array(sizeFor(registered));
    let blocks = 0;
    for (const { tier, arena, blocks: slots } of arenas) {
      for (let slot = 0; slot < slots; slot++) {
        if (slot % sliceSlots === sliceSlots - 1) await nextTurn();
        const block = this.#manager.block(tier, arena, slot);
        if (block?.isRegistered !== true) continue;
        add(filter, wordsOf(this.#manager.namespaceAt(block.namespace).digest), block.digest);
        blocks++;
      }
    }
    const old = this.#current;
    this.#madeMs = madeMs;
    if (old.version !== 0n && Buffer.compare(old.filter, filter) === 0) return old;
    this.#current = { version: old.version + 1n, filter, probes, blocks };
    return this.#current;
  }
}

function add(filter: Uint8Array, namespaceDigest: Uint32Array, digest: Uint32Array): void {
  const mask = filter.length * 8 - 1;
  const { first, step } = keyOf(namespaceDigest, digest);
  for (let i = 0; i < probes; i++) {
    const bit = (first + Math.imul(i, step)) & mask;
    filter[bit >>> 3] = (filter[bit >>> 3] ?? 0) | (1 << (bit & 7));
  }
}

function keyOf(namespaceDigest: Uint32Array, digest: Uint32Array): { readonly first: number; readonly step: number } {
  const word = (index: number): number => (namespaceDigest[index] ?? 0) ^ (digest[index] ?? 0);
  return { first: word(0), step: word(1) | 1 };
}

function sizeFor(blocks: number): number {
  const bytes = Math.max(minBytes, Math.ceil((blocks * bitsPerBlock) / 8));
  return Math.min(maxBytes, 2 ** Math.ceil(Math.log2(bytes)));
}
