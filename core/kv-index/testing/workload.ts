import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { SubscribeKvEventsResponseSchema } from '#gen/stator/engine/v1/engine_pb.ts';
import type { KvEventSchema } from '#gen/stator/events/v1/events_pb.ts';
import { packHashes } from '../../tokens/packed-hashes.ts';
import { createOverlaps, type DumpCursor, type KvIndex, type Overlaps, tierCount } from '../kv-index.ts';
import type { PromptTree } from './prompt-tree.ts';
import type { Random } from './random.ts';

export interface WorkloadOptions {
  readonly slots: number;
  /** Whether removed slots are reclaimed at once, which makes the number of blocks comparable at every step. */
  readonly reclaimAtOnce: boolean;
}

/** Random changes and lookups, done to two indexes that must give the same answers. */
export class Workload {
  readonly #random: Random;
  readonly #tree: PromptTree;
  readonly #options: WorkloadOptions;
  readonly #indexes: readonly [KvIndex, KvIndex];
  readonly #slots: number[] = [];
  readonly #overlaps: readonly [Overlaps, Overlaps];
  #reclaiming = false;

  constructor(indexes: readonly [KvIndex, KvIndex], tree: PromptTree, random: Random, options: WorkloadOptions) {
    this.#indexes = indexes;
    this.#tree = tree;
    this.#random = random;
    this.#options = options;
    this.#overlaps = [createOverlaps(options.slots * 2), createOverlaps(options.slots * 2)];
    while (this.#slots.length < options.slots) this.#addSlot();
  }

  step(): void {
    const kind = this.#random.next();
    if (kind < 0.45) this.#store();
    else if (kind < 0.7) this.#remove();
    else if (kind < 0.95) this.match(this.#tree.prompt(this.#random));
    else if (kind < 0.97) this.#applyMessage();
    else if (kind < 0.98) this.#both((index) => index.clearSlot(this.#slot()));
    else if (kind < 0.985) this.#replaceSlot();
    else this.#both((index) => void index.reclaim(this.#random.below(20)), false);
  }

  match(prompt: BigUint64Array): void {
    const packed = packHashes(prompt);
    const [one, other] = this.#indexes.map((index, i) => index.match(packed, this.#overlaps[i] ?? createOverlaps(0)));
    requireSame(one, other, 'deepest match');
    const [a, b] = this.#overlaps;
    for (const tier of ['device', 'host', 'disk', 'external'] as const) requireSame(a[tier], b[tier], tier);
  }

  /** Compares everything there is: figures and dumps, and that each dump rebuilds its index. */
  compare(empty: () => KvIndex): void {
    this.#reclaim();
    const [one, other] = this.#indexes.map((index) => index.stats);
    requireSame(figures(one), figures(other), 'figures');
    const [a, b] = this.#indexes.map((index) => this.dump(index));
    requireSame(a, b, 'dump');
    this.#rebuild(empty());
  }

  /** Every (slot, tier, block), sorted; checks the parents. */
  dump(index: KvIndex): string[] {
    const found: string[] = [];
    let cursor: DumpCursor | undefined;
    do {
      const chunk = index.dump(cursor, 1 + this.#random.below(200));
      for (const { slot, tier, parent, hashes } of chunk.events) {
        let before = parent;
        for (const hash of new BigUint64Array(hashes.slice().buffer)) {
          requireSame(before, this.#tree.parentOf(hash), 'parent');
          found.push(`${slot}:${tier}:${hash}`);
          before = hash;
        }
      }
      cursor = chunk.next;
    } while (cursor !== undefined);
    return found.sort();
  }

  #rebuild(copy: KvIndex): void {
    const [index, twin] = this.#indexes;
    const top = Math.max(...this.#slots);
    for (let slot = 0; slot <= top; slot++) copy.addSlot();
    let cursor: DumpCursor | undefined;
    do {
      const chunk = index.dump(cursor, 500);
      for (const { slot, tier, parent, hashes } of chunk.events)
        requireSame(copy.store(slot, tier, parent, hashes).stored, hashes.length / 8, 'rebuilt blocks');
      cursor = chunk.next;
    } while (cursor !== undefined);
    requireSame(this.dump(copy), this.dump(twin), 'dump of the rebuilt');
  }

  #slot(): number {
    return this.#random.pick(this.#slots);
  }

  #tier(): number {
    return this.#random.chance(0.7) ? 0 : this.#random.below(tierCount);
  }

  #store(): void {
    const { slot, tier, parent, hashes } = this.#storeEvent();
    this.#both((index) => index.store(slot, tier, parent, packHashes(hashes)));
  }

  #storeEvent(): { slot: number; tier: number; parent: bigint | undefined; hashes: BigUint64Array } {
    const path = this.#tree.path(this.#random);
    const start = this.#random.chance(0.5) ? 0 : this.#random.below(path.length);
    const end = this.#random.chance(0.5) ? path.length : start + 1 + this.#random.below(path.length - start);
    const parent = start === 0 ? undefined : path[start - 1];
    return { slot: this.#slot(), tier: this.#tier(), parent, hashes: path.slice(start, end) };
  }

  #remove(): void {
    const hashes = this.#removed();
    const slot = this.#slot();
    const tier = this.#tier();
    this.#both((index) => index.remove(slot, tier, packHashes(hashes)));
  }

  /** Part of a chain forwards, backwards or in any order, or blocks from anywhere. */
  #removed(): BigUint64Array {
    const path = [...this.#tree.path(this.#random)];
    const start = this.#random.below(path.length);
    const part = path.slice(start, start + 1 + this.#random.below(path.length - start));
    const way = this.#random.below(4);
    if (way === 0) return BigUint64Array.from(part);
    if (way === 1) return BigUint64Array.from(part.reverse());
    if (way === 2) return BigUint64Array.from(this.#random.shuffle(part));
    return BigUint64Array.from({ length: this.#random.below(10) }, () => this.#tree.any(this.#random));
  }

  #applyMessage(): void {
    const event = (_: unknown, i: number): MessageInitShape<typeof KvEventSchema> => ({
      sequenceNumber: BigInt(i),
      dataParallelRank: this.#random.below(3),
      change: this.#change(),
    });
    const events = Array.from({ length: this.#random.below(5) }, event);
    const bytes = toBinary(
      SubscribeKvEventsResponseSchema,
      create(SubscribeKvEventsResponseSchema, { batch: { events } }),
    );
    const [first, second] = [this.#slot(), this.#slot()];
    this.#both((index) => index.applyMessage(bytes, (rank) => [first, second][rank]));
  }

  #change(): NonNullable<MessageInitShape<typeof KvEventSchema>['change']> {
    const kind = this.#random.below(10);
    if (kind === 0) return { case: 'cleared', value: {} } as const;
    if (kind === 1) return { case: undefined } as const;
    const tier = this.#random.below(7) as 0;
    if (kind < 5) return { case: 'removed', value: { sequenceHashes: packHashes(this.#removed()), tier } } as const;
    const { parent, hashes } = this.#storeEvent();
    const sequenceHashes = packHashes(hashes);
    const value =
      parent === undefined ? { sequenceHashes, tier } : { parentSequenceHash: parent, sequenceHashes, tier };
    return { case: 'stored', value } as const;
  }

  #replaceSlot(): void {
    const [slot] = this.#slots.splice(this.#random.below(this.#slots.length), 1);
    if (slot !== undefined) this.#both((index) => index.removeSlot(slot));
    this.#reclaiming = true;
    if (this.#options.reclaimAtOnce) this.#reclaim();
    if (this.#slots.length < this.#options.slots / 2) this.#reclaim();
    while (!this.#reclaiming && this.#slots.length < this.#options.slots) this.#addSlot();
  }

  #addSlot(): void {
    const [one, other] = this.#indexes.map((index) => index.addSlot());
    requireSame(one, other, 'slot');
    this.#slots.push(one ?? 0);
  }

  #reclaim(): void {
    for (const index of this.#indexes) while (index.reclaim(100));
    this.#reclaiming = false;
  }

  /** The same random choices for both. */
  #both(action: (index: KvIndex) => unknown, compared = true): void {
    const state = this.#random.save();
    const one = action(this.#indexes[0]);
    const after = this.#random.save();
    this.#random.restore(state);
    const other = action(this.#indexes[1]);
    this.#random.restore(after);
    if (compared) requireSame(one, other, 'answer');
  }
}

function figures(stats: KvIndex['stats'] | undefined): object {
  return { blocks: stats?.blocks, entries: stats?.entries, slots: stats?.slots };
}

function requireSame(one: unknown, other: unknown, what: string): void {
  const [a, b] = [text(one), text(other)];
  if (a !== b) throw new Error(`The indexes differ in the ${what}: ${a} and ${b}.`);
}

function text(value: unknown): string {
  if (value instanceof Uint32Array) return value.join();
  return JSON.stringify(value, (_, inner) => (typeof inner === 'bigint' ? `${inner}n` : inner)) ?? 'undefined';
}
