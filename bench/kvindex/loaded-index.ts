import { readFileSync } from 'node:fs';
import { CpuMeter } from '#bench/cpu.ts';
import { median } from '#bench/report.ts';
import { createOverlaps } from '#core/kv-index/kv-index.ts';
import { createKvIndex } from '#native/kvindex/index.ts';
import { type ChangeSection, type Data, type Query, queriesOf, querySets, readData, setAt } from './layout.ts';
import { encodeMessages, type Message } from './messages.ts';

type NativeKvIndex = ReturnType<typeof createKvIndex>;
type SlotOfRank = (rank: number) => number | undefined;

/** Messages encoded at a time, before the clock runs. */
const PREPARED = 128;
/** Prompts that the router looks up in one call when they queue. */
const BATCH = 32;
/** Messages of new sequences that are there at once while lookups and events are mixed. */
const MIXED_WINDOW = 4;
const MIXED_FINDS = 128;

/** What both sides answer to `load`. */
interface Weight {
  readonly entries: number;
  readonly bytes: number;
}

/** An index with slots for the workers of the data. */
interface Filled {
  readonly index: NativeKvIndex;
  readonly slots: readonly SlotOfRank[];
}

export class LoadedIndex {
  readonly weight: Weight;
  readonly #data: Data;
  readonly #filled: Filled;
  readonly #queries: readonly (readonly Query[])[];

  private constructor(data: Data, filled: Filled, weight: Weight) {
    this.#data = data;
    this.#filled = filled;
    this.weight = weight;
    this.#queries = querySets.map((_, set) => queriesOf(data, set));
  }

  /** Fills an index and weighs it. */
  static async load(file: string): Promise<LoadedIndex> {
    const data = await readData(file);
    const filled = emptyIndex(data);
    const before = residentBytes();
    applyAll(filled, data, 'stores', 16, 1);
    return new LoadedIndex(data, filled, { entries: data.entries, bytes: residentBytes() - before });
  }

  /** Everything that the queries of a set return, in sums. */
  verify(set: number): object {
    const overlaps = createOverlaps(this.#data.workers);
    let [deepest, overlap, workers] = [0, 0, 0];
    for (const { hashes } of this.#set(set)) {
      deepest += this.#filled.index.match(hashes, overlaps);
      for (const depth of overlaps.device) {
        overlap += depth;
        if (depth > 0) workers++;
      }
    }
    return { deepest, overlap, workers };
  }

  find(set: number, minMs: number): object {
    const queries = this.#set(set);
    const overlaps = createOverlaps(this.#data.workers);
    const { index } = this.#filled;
    let [finds, depth] = [0, 0];
    const start = performance.now();
    while (performance.now() - start < minMs) {
      for (const { hashes, owner } of queries) {
        index.match(hashes, overlaps);
        depth += overlaps.device[owner] ?? 0;
      }
      finds += queries.length;
    }
    const seconds = (performance.now() - start) / 1000;
    checkDepth(set, finds, depth);
    return { perSecond: finds / seconds };
  }

  findBatch(set: number, minMs: number): object {
    const queries = this.#set(set);
    const { length } = setAt(set);
    const overlaps = createOverlaps(this.#data.workers * BATCH);
    const deepest = new Uint32Array(BATCH);
    const ends = Uint32Array.from({ length: BATCH }, (_, i) => (i + 1) * length);
    const batches = Array.from({ length: queries.length / BATCH }, (_, i) =>
      joined(queries.slice(i * BATCH, (i + 1) * BATCH)),
    );
    let [finds, depth] = [0, 0];
    const start = performance.now();
    while (performance.now() - start < minMs) {
      for (const { hashes, owners } of batches) {
        this.#filled.index.matchBatch(hashes, ends, overlaps, deepest);
        for (let i = 0; i < BATCH; i++) depth += overlaps.device[i * this.#data.workers + (owners[i] ?? 0)] ?? 0;
      }
      finds += queries.length;
    }
    const seconds = (performance.now() - start) / 1000;
    checkDepth(set, finds, depth);
    return { perSecond: finds / seconds };
  }

  latency(set: number, passes: number): object {
    const queries = this.#set(set);
    const overlaps = createOverlaps(this.#data.workers);
    const times = new Float64Array(queries.length * passes);
    let [depth, at] = [0, 0];
    for (let pass = 0; pass < passes; pass++)
      for (const { hashes, owner } of queries) {
        const start = performance.now();
        this.#filled.index.match(hashes, overlaps);
        depth += overlaps.device[owner] ?? 0;
        times[at++] = performance.now() - start;
      }
    checkDepth(set, at, depth);
    return { p99Us: p99Us(times) };
  }

  /** A fresh index: everything stored, then everything removed, in events of so many blocks. */
  churn(blocksPerEvent: number): object {
    const filled = emptyIndex(this.#data);
    const stored = applyAll(filled, this.#data, 'stores', blocksPerEvent, PREPARED);
    const removed = applyAll(filled, this.#data, 'removals', blocksPerEvent, PREPARED);
    if (filled.index.stats.entries !== 0) throw new Error('blocks are left after all removals');
    return {
      storedPerSecond: stored.perSecond,
      storedCpuNs: stored.cpuNs,
      removedPerSecond: removed.perSecond,
      removedCpuNs: removed.cpuNs,
    };
  }

  /** New sequences come and go, a message at a time, and after each message lookups of a set. */
  mixed(set: number, rounds: number): object {
    const [stores, removals] = [...this.#mixedMessages()];
    if (stores === undefined || removals === undefined) throw new Error('no messages to mix');
    const messages: Message[] = [];
    for (let k = 0; k < stores.length * rounds + MIXED_WINDOW; k++) {
      const [store, removal] = [stores[k % stores.length], removals[(k - MIXED_WINDOW) % removals.length]];
      if (store !== undefined && k < stores.length * rounds) messages.push(store);
      if (removal !== undefined) messages.push(removal);
    }
    const queries = this.#set(set);
    const overlaps = createOverlaps(this.#data.workers);
    const times = new Float64Array(messages.length * MIXED_FINDS);
    const messageTimes: number[] = [];
    const { index, slots } = this.#filled;
    let [depth, at] = [0, 0];
    const begin = performance.now();
    for (const message of messages) {
      const before = performance.now();
      applyMessage(index, slots, message);
      messageTimes.push((performance.now() - before) * 1000);
      for (let i = 0; i < MIXED_FINDS; i++) {
        const { hashes, owner } = queries[at % queries.length] as Query;
        const start = performance.now();
        index.match(hashes, overlaps);
        depth += overlaps.device[owner] ?? 0;
        times[at++] = performance.now() - start;
      }
    }
    const seconds = (performance.now() - begin) / 1000;
    checkDepth(set, at, depth);
    return { perSecond: at / seconds, p99Us: p99Us(times), messageUs: median(messageTimes) };
  }

  *#mixedMessages(): Generator<Message[]> {
    yield [...encodeMessages(this.#data, 'mixedStores', 16)];
    yield [...encodeMessages(this.#data, 'mixedRemovals', 16)];
  }

  #set(set: number): readonly Query[] {
    return this.#queries[set] ?? [];
  }
}

function emptyIndex(data: Data): Filled {
  const index = createKvIndex({ maxBlocks: 2 * data.entries });
  const slots = Array.from({ length: data.workers }, () => {
    const slot = index.addSlot();
    return () => slot;
  });
  return { index, slots };
}

interface Applied {
  /** Events per second. */
  readonly perSecond: number;
  /** Nanoseconds of CPU per event. */
  readonly cpuNs: number;
}

/** Applies all changes of a section, so many messages at a time encoded beforehand. */
function applyAll(
  { index, slots }: Filled,
  data: Data,
  section: ChangeSection,
  blocksPerEvent: number,
  atATime: number,
): Applied {
  const cpu = new CpuMeter();
  let [tookMs, cpuMicros, events, blocks] = [0, 0, 0, 0];
  let prepared: Message[] = [];
  const apply = (): void => {
    cpu.reset();
    const start = performance.now();
    for (const message of prepared) applyMessage(index, slots, message);
    tookMs += performance.now() - start;
    cpuMicros += cpu.micros();
    prepared = [];
  };
  for (const message of encodeMessages(data, section, blocksPerEvent)) {
    prepared.push(message);
    events += message.events;
    blocks += message.blocks;
    if (prepared.length === atATime) apply();
  }
  apply();
  if (blocks !== data.entries) throw new Error(`${section} has ${blocks} blocks, not ${data.entries}`);
  return { perSecond: (events * 1000) / tookMs, cpuNs: (cpuMicros * 1000) / events };
}

function applyMessage(index: NativeKvIndex, slots: readonly SlotOfRank[], message: Message): void {
  const applied = index.applyMessage(message.bytes, slots[message.worker] ?? (() => undefined));
  if (applied.stored + applied.removed !== message.blocks || applied.unmatchedParents > 0)
    throw new Error(`a message of ${message.blocks} blocks was not applied in full: ${described(applied)}`);
}

function described(applied: object): string {
  return JSON.stringify(applied, (_, value: unknown) => (typeof value === 'bigint' ? Number(value) : value));
}

function joined(queries: readonly Query[]): { hashes: Uint8Array; owners: number[] } {
  return { hashes: Buffer.concat(queries.map(({ hashes }) => hashes)), owners: queries.map(({ owner }) => owner) };
}

function checkDepth(set: number, finds: number, depth: number): void {
  if (depth !== finds * setAt(set).depth) throw new Error(`lookups of set ${set} returned other depths`);
}

function p99Us(timesMs: Float64Array): number {
  return (timesMs.sort()[Math.floor((timesMs.length * 99) / 100)] ?? 0) * 1000;
}

/** Anonymous resident memory of this process, once garbage is collected. */
function residentBytes(): number {
  for (let i = 0; i < 3; i++) global.gc?.();
  const kib = /^RssAnon:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  if (kib === undefined) throw new Error('this kernel does not tell RssAnon; the benchmark needs Linux');
  return Number(kib) * 1024;
}
