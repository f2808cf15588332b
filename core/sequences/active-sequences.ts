import type { PrefillModel } from './prefill-model.ts';
import { PromptTrie, type TrieNode } from './prompt-trie.ts';
import { type Prefill, RankLoad, weightUnits } from './rank-load.ts';
import { ownBlocks, prefillTokensOf, type SequenceRequest, sequencesOf, sharedWords } from './sequence-request.ts';

export interface ActiveSequencesOptions {
  /** Whether prompts and outputs count as KV blocks. Default true. */
  readonly trackActiveBlocks?: boolean;
  /** Whether output counts as KV blocks too. Default false. */
  readonly trackOutputBlocks?: boolean;
  /** Expects how long prompts take where a request does not say, and learns from those that are done. Default: none. */
  readonly prefillModel?: PrefillModel | undefined;
}

/** A request in flight. */
export interface ActiveSequence {
  readonly owner: string;
  readonly requestId: string;
  readonly request: SequenceRequest;
  readonly prefillDone: boolean;
  /** Output tokens so far, of all its sequences. */
  readonly outputTokens: number;
}

/** What is in flight on a slot. */
export interface SlotLoad {
  readonly activeRequests: number;
  readonly activePrefillTokens: number;
  readonly activeBlocks: number;
  /** Tokens of prompts and outputs, done and expected. */
  readonly activeTokens: number;
}

interface Sequence extends ActiveSequence {
  prefillDone: boolean;
  outputTokens: number;
  readonly number: number;
  readonly prefill: Prefill;
  /** When it was placed, and the prompt tokens that were to compute then, its own included. */
  readonly placedMs: number;
  readonly backlogTokens: number;
  tail: TrieNode | undefined;
  /** Prompt blocks in the trie. */
  readonly promptBlocks: number;
  /** Prompt blocks in the trie that no other request of the slot holds. */
  soleBlocks: number;
  /** Blocks outside the trie: what is not hashed or not shared, the partial one and output. */
  ownBlocks: number;
  tokens: number;
  /** What it takes off its rank's blocks, in weight units. */
  discount: number;
}

const noHashes = new Uint32Array();

/**
 * What placed requests hold on each slot. A request belongs to an owner (a gateway's stream), whose end frees all it has;
 * nothing expires by time, so that a request may run for hours. Every call is idempotent and unknown requests are
 * ignored: no order of events can leak.
 */
export class ActiveSequences {
  readonly #trackBlocks: boolean;
  readonly #trackOutput: boolean;
  readonly #prefillModel: PrefillModel | undefined;
  readonly #owners = new Map<string, Map<string, Sequence>>();
  readonly #ranks: (RankLoad | undefined)[] = [];
  readonly #bySlot = new Map<number, Set<Sequence>>();
  readonly #numbered: (Sequence | undefined)[] = [];
  readonly #freeNumbers: number[] = [];
  readonly #trie = new PromptTrie({
    distinctBlocks: (slot, change) => {
      this.#rank(slot).blocks += change;
    },
    soleBlocks: (request, change) => {
      const sequence = this.#numbered[request];
      if (sequence === undefined) return;
      sequence.soleBlocks += change;
      this.#weigh(sequence);
    },
  });
  #size = 0;

  constructor({ trackActiveBlocks = true, trackOutputBlocks = false, prefillModel }: ActiveSequencesOptions = {}) {
    this.#prefillModel = prefillModel;
    this.#trackBlocks = trackActiveBlocks;
    this.#trackOutput = trackOutputBlocks;
  }

  /** Requests in flight. */
  get size(): number {
    return this.#size;
  }

  /** Owners that have requests in flight. */
  get owners(): number {
    return this.#owners.size;
  }

  /** Nodes of the trie of active prompts. */
  get promptNodes(): number {
    return this.#trie.nodes;
  }

  activeRequests(slot: number): number {
    return this.#ranks[slot]?.requests ?? 0;
  }

  activePrefillTokens(slot: number, nowMs: number): number {
    return this.#ranks[slot]?.prefillTokensAt(nowMs) ?? 0;
  }

  /** A fraction where expected output makes blocks count less. */
  activeBlocks(slot: number): number {
    return this.#ranks[slot]?.activeBlocks ?? 0;
  }

  activeTokens(slot: number): number {
    return this.#ranks[slot]?.tokens ?? 0;
  }

  /** Milliseconds until the slot's prompts are computed; undefined: no model says. */
  activePrefillMs(slot: number, nowMs: number): number | undefined {
    const rank = this.#ranks[slot];
    return rank === undefined ? 0 : rank.prefillMsAt(nowMs);
  }

  load(slot: number, nowMs: number): SlotLoad {
    return {
      activeRequests: this.activeRequests(slot),
      activePrefillTokens: this.activePrefillTokens(slot, nowMs),
      activeBlocks: this.activeBlocks(slot),
      activeTokens: this.activeTokens(slot),
    };
  }

  /**
   * The blocks that a request would add to a slot where nothing of it is active; `sharedOfSlot` is filled with how many of
   * them each slot's requests hold already, so that the difference is new there.
   */
  potentialBlocks(request: Omit<SequenceRequest, 'slot' | 'cachedTokens'>, sharedOfSlot: Uint32Array): number {
    sharedOfSlot.fill(0);
    if (!this.#trackBlocks) return 0;
    const words = sharedWords(request, request.sequenceHashes);
    this.#trie.leading(words, sharedOfSlot);
    return words.length / 2 + ownBlocks(request, words.length / 2, 0);
  }

  has(owner: string, requestId: string): boolean {
    return this.#owners.get(owner)?.has(requestId) ?? false;
  }

  get(owner: string, requestId: string): ActiveSequence | undefined {
    return this.#owners.get(owner)?.get(requestId);
  }

  /** Everything in flight, oldest of an owner first, to tell replicas and people. */
  *entries(): Generator<ActiveSequence> {
    for (const sequences of this.#owners.values()) yield* sequences.values();
  }

  /** Adds a request; false when its owner has one of that identifier already. Its hashes are copied. */
  add(owner: string, requestId: string, request: SequenceRequest, nowMs: number): boolean {
    const ofOwner = this.#owners.get(owner) ?? new Map<string, Sequence>();
    if (ofOwner.has(requestId)) return false;
    const sequenceHashes = request.sequenceHashes.slice();
    const words = this.#trackBlocks ? sharedWords(request, sequenceHashes) : noHashes;
    const rank = this.#rank(request.slot);
    const prefill = this.#prefillOf(request);
    const sequence: Sequence = {
      owner,
      requestId,
      request: { ...request, sequenceHashes },
      number: this.#freeNumbers.pop() ?? this.#numbered.length,
      prefill,
      placedMs: nowMs,
      backlogTokens: rank.waitingPrefillTokens + prefill.tokens,
      prefillDone: false,
      outputTokens: 0,
      tail: undefined,
      promptBlocks: words.length / 2,
      soleBlocks: 0,
      ownBlocks: 0,
      tokens: 0,
      discount: 0,
    };
    this.#owners.set(owner, ofOwner.set(requestId, sequence));
    this.#numbered[sequence.number] = sequence;
    this.#ofSlot(request.slot).add(sequence);
    this.#size++;
    rank.requests++;
    rank.beginPrefill(prefill, nowMs);
    sequence.tail = this.#trie.acquire(request.slot, sequence.number, words);
    this.#count(sequence);
    return true;
  }

  /** The prompt is computed. False: the request is not in flight. */
  prefillDone(owner: string, requestId: string, nowMs: number): boolean {
    const sequence = this.#owners.get(owner)?.get(requestId);
    if (sequence === undefined) return false;
    this.#computed(sequence, nowMs);
    return true;
  }

  /** Output so far, of all its sequences; never shrinks. The first output ends the prefill. */
  output(owner: string, requestId: string, outputTokens: number, nowMs: number): boolean {
    const sequence = this.#owners.get(owner)?.get(requestId);
    if (sequence === undefined) return false;
    if (outputTokens > 0) this.#computed(sequence, nowMs);
    if (outputTokens > sequence.outputTokens) {
      sequence.outputTokens = outputTokens;
      this.#count(sequence);
    }
    return true;
  }

  /** The request ended, whatever its outcome; null: it was not in flight. */
  finish(owner: string, requestId: string, nowMs: number): ActiveSequence | null {
    const sequence = this.#owners.get(owner)?.get(requestId);
    if (sequence === undefined) return null;
    this.#free(sequence, nowMs);
    return sequence;
  }

  /** Everything of an owner ended, for example because its stream did. Returns how many. */
  endOwner(owner: string, nowMs: number): number {
    const ofOwner = this.#owners.get(owner);
    if (ofOwner === undefined) return 0;
    const ended = ofOwner.size;
    for (const sequence of ofOwner.values()) this.#free(sequence, nowMs);
    return ended;
  }

  /** Everything on a slot ended, because its worker is gone. Returns how many. */
  endSlot(slot: number, nowMs: number): number {
    this.#prefillModel?.forget(slot);
    const ofSlot = this.#bySlot.get(slot);
    if (ofSlot === undefined) return 0;
    const ended = ofSlot.size;
    for (const sequence of ofSlot) this.#free(sequence, nowMs);
    return ended;
  }

  /** The prompt is computed, rather than given up. */
  #computed(sequence: Sequence, nowMs: number): void {
    if (sequence.prefillDone) return;
    this.#endPrefill(sequence, nowMs);
    const { request, backlogTokens, placedMs } = sequence;
    if (sequence.prefill.tokens > 0) this.#prefillModel?.observe(request.slot, backlogTokens, nowMs - placedMs);
  }

  #endPrefill(sequence: Sequence, nowMs: number): void {
    if (sequence.prefillDone) return;
    sequence.prefillDone = true;
    this.#rank(sequence.request.slot).endPrefill(sequence.prefill, nowMs);
  }

  #free(sequence: Sequence, nowMs: number): void {
    const { owner, requestId, request, number, tail } = sequence;
    this.#endPrefill(sequence, nowMs);
    if (tail !== undefined) this.#trie.release(tail, request.slot, number);
    const rank = this.#rank(request.slot);
    rank.requests--;
    rank.blocks -= sequence.ownBlocks;
    rank.discount -= sequence.discount;
    rank.tokens -= sequence.tokens;
    this.#numbered[number] = undefined;
    this.#freeNumbers.push(number);
    this.#size--;
    deleteFrom(this.#owners, owner, requestId);
    const ofSlot = this.#ofSlot(request.slot);
    ofSlot.delete(sequence);
    if (ofSlot.size === 0) this.#bySlot.delete(request.slot);
  }

  #prefillOf(request: SequenceRequest): Prefill {
    const tokens = prefillTokensOf(request);
    const expectedMs = request.expectedPrefillMs ?? this.#prefillModel?.expectedMs(request.slot, tokens);
    // Whole milliseconds, so that sums return to exactly zero.
    return { tokens, expectedMs: expectedMs === undefined ? undefined : Math.round(expectedMs) };
  }

  /** Counts a request's own blocks and tokens anew. */
  #count(sequence: Sequence): void {
    const { request, promptBlocks, outputTokens } = sequence;
    const rank = this.#rank(request.slot);
    const own = this.#trackBlocks ? ownBlocks(request, promptBlocks, this.#trackOutput ? outputTokens : 0) : 0;
    rank.blocks += own - sequence.ownBlocks;
    sequence.ownBlocks = own;
    const expected = sequencesOf(request) * (request.expectedOutputTokens ?? 0);
    const tokens = request.promptTokens + Math.max(outputTokens, expected);
    rank.tokens += tokens - sequence.tokens;
    sequence.tokens = tokens;
    this.#weigh(sequence);
  }

  /** Blocks that only this request holds will be free when it ends: the nearer that is, the less they count. */
  #weigh(sequence: Sequence): void {
    const { request, outputTokens, soleBlocks, ownBlocks: own } = sequence;
    const expected = this.#trackOutput ? (request.expectedOutputTokens ?? 0) : 0;
    const weight = expected > 0 ? Math.max(0, 1 - outputTokens / sequencesOf(request) / expected) : 1;
    const discount = (soleBlocks + own) * Math.round(weightUnits * (1 - weight));
    this.#rank(request.slot).discount += discount - sequence.discount;
    sequence.discount = discount;
  }

  #rank(slot: number): RankLoad {
    let rank = this.#ranks[slot];
    if (rank === undefined) {
      rank = new RankLoad();
      this.#ranks[slot] = rank;
    }
    return rank;
  }

  #ofSlot(slot: number): Set<Sequence> {
    let sequences = this.#bySlot.get(slot);
    if (sequences === undefined) {
      sequences = new Set();
      this.#bySlot.set(slot, sequences);
    }
    return sequences;
  }
}

function deleteFrom(owners: Map<string, Map<string, Sequence>>, owner: string, requestId: string): void {
  const sequences = owners.get(owner);
  sequences?.delete(requestId);
  if (sequences?.size === 0) owners.delete(owner);
}
