import { weightUnits } from './rank-load.ts';

/** A small generator that repeats (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Packed hashes, of which each stands for its block's content and all before it. */
export function chained(content: readonly number[]): Uint8Array {
  const hashes = new BigUint64Array(content.length);
  let hash = 0x9e3779b97f4a7c15n;
  for (const [i, block] of content.entries()) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(block + 1)) * 0xff51afd7ed558ccdn);
    hash ^= hash >> 29n;
    hashes[i] = hash;
  }
  return new Uint8Array(hashes.buffer);
}

interface NaiveRequest {
  readonly slot: number;
  readonly content: readonly number[];
  readonly blockSize: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly sequences: number;
  readonly assumeKvReuse: boolean;
  readonly trackPrefillTokens: boolean;
  readonly expectedOutputTokens: number | undefined;
}

interface State {
  readonly request: NaiveRequest;
  prefillDone: boolean;
  output: number;
}

/** The accounts as their definition says, counted from nothing every time. Tracks output blocks. */
export class NaiveSequences {
  readonly #states = new Map<string, State>();

  get size(): number {
    return this.#states.size;
  }

  add(owner: string, id: string, request: NaiveRequest): boolean {
    const key = `${owner}/${id}`;
    if (this.#states.has(key)) return false;
    this.#states.set(key, { request, prefillDone: false, output: 0 });
    return true;
  }

  prefillDone(owner: string, id: string): void {
    const state = this.#states.get(`${owner}/${id}`);
    if (state !== undefined) state.prefillDone = true;
  }

  output(owner: string, id: string, tokens: number): void {
    const state = this.#states.get(`${owner}/${id}`);
    if (state === undefined) return;
    if (tokens > 0) state.prefillDone = true;
    state.output = Math.max(state.output, tokens);
  }

  finish(owner: string, id: string): void {
    this.#states.delete(`${owner}/${id}`);
  }

  endOwner(owner: string): void {
    for (const key of this.#states.keys()) if (key.startsWith(`${owner}/`)) this.#states.delete(key);
  }

  endSlot(slot: number): void {
    for (const [key, { request }] of this.#states) if (request.slot === slot) this.#states.delete(key);
  }

  load(slot: number) {
    const states = this.#on(slot);
    const holders = new Map<string, State[]>();
    for (const state of states)
      for (const prefix of prefixes(state)) holders.set(prefix, [...(holders.get(prefix) ?? []), state]);
    let activeBlocks = 0;
    for (const [only, ...others] of holders.values())
      activeBlocks += others.length > 0 || only === undefined ? 1 : weight(only);
    for (const state of states) activeBlocks += own(state) * weight(state);
    return {
      activeRequests: states.length,
      activePrefillTokens: total(states, ({ request, prefillDone }) =>
        prefillDone || !request.trackPrefillTokens ? 0 : Math.max(0, request.promptTokens - request.cachedTokens),
      ),
      activeBlocks,
      activeTokens: total(
        states,
        ({ request, output }) =>
          request.promptTokens + Math.max(output, request.sequences * (request.expectedOutputTokens ?? 0)),
      ),
    };
  }

  /** Leading blocks of a prompt that a slot's requests hold. */
  leading(slot: number, content: readonly number[]): number {
    const held = new Set(this.#on(slot).flatMap(prefixes));
    const missing = content.findIndex((_, i) => !held.has(content.slice(0, i + 1).join()));
    return missing < 0 ? content.length : missing;
  }

  #on(slot: number): State[] {
    return [...this.#states.values()].filter(({ request }) => request.slot === slot);
  }
}

function prefixes({ request: { content, assumeKvReuse } }: State): string[] {
  return assumeKvReuse ? content.map((_, i) => content.slice(0, i + 1).join()) : [];
}

function own({ request, output }: State): number {
  const { promptTokens, blockSize, sequences, content, assumeKvReuse } = request;
  const full = Math.floor(promptTokens / blockSize);
  const length = promptTokens + Math.ceil(output / sequences);
  return (assumeKvReuse ? full - content.length : full) + sequences * (Math.ceil(length / blockSize) - full);
}

function weight({ request: { expectedOutputTokens = 0, sequences }, output }: State): number {
  if (expectedOutputTokens === 0) return 1;
  const exact = Math.max(0, 1 - output / sequences / expectedOutputTokens);
  return 1 - Math.round(weightUnits * (1 - exact)) / weightUnits;
}

function total(states: readonly State[], of: (state: State) => number): number {
  return states.reduce((sum, state) => sum + of(state), 0);
}
