import { create } from '@bufbuild/protobuf';
import {
  type EngineStep,
  RequestRejectedError,
  type SimulatedEngine,
  stepFlags,
} from '#core/scheduling/engine/engine-model.ts';
import type { KvExchange } from '#core/scheduling/engine/kv-exchange.ts';
import { byteVocabulary } from '#core/scheduling/synthetic-token.ts';
import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import { type RankLoad, RankLoadSchema } from '#gen/stator/events/v1/events_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { endpointOfRank } from '#lib/zmq/endpoint.ts';
import { hashBlocks } from '#native/tokens/index.ts';
import type { KvEventChange, SequenceHandle, StepBatch } from '../common/engine.ts';
import type { KvPrefix } from '../common/engine-kv.ts';
import { outputHasher } from './block-hasher.ts';
import type { Handoffs } from './handoffs.ts';
import { RankHolds } from './holds.ts';
import type { KvRank } from './kv.ts';
import { kvMessages } from './kv-messages.ts';
import type { MockerOptions } from './options.ts';
import { PassTimer } from './pass-timer.ts';
import { RawEvents } from './raw-events.ts';
import type { MockerSequence } from './sequence.ts';
import { simulatedRank } from './simulation.ts';
import { type Ending, forwardPass, StepBuilder } from './step.ts';

export interface RankParts {
  readonly options: MockerOptions;
  readonly rank: number;
  readonly handoffs: Handoffs;
  readonly deliver: (batch: StepBatch) => void;
  /** So many tokens came into being; false: the engine fails after this step. */
  readonly onTokens: (count: number) => boolean;
}

/** One data parallel rank in real time: the simulated engine says when something is computed, this says which tokens. */
export class MockerRank implements KvRank {
  /** Blocks that are held beside sequences: where nothing can run, they are let go. */
  readonly holds = new RankHolds(
    () => this.#engine.exchange,
    () => this.cacheChanged(),
  );
  readonly #o: RankParts;
  readonly #engine: SimulatedEngine;
  readonly #timer = new PassTimer((nowMs) => this.#turn(nowMs));
  readonly #sequences = new Map<number, MockerSequence>();
  readonly #ids = new Map<SequenceHandle, number>();
  readonly #cancelled = new Set<number>();
  /** Sequence hashes of blocks that came from elsewhere with wrong bytes. */
  readonly #poisoned = new Set<bigint>();
  #raw: RawEvents | undefined;
  #nextId = 1;
  /** The pass that is being computed. */
  #pass: EngineStep | undefined;
  #sweeping: NodeJS.Immediate | undefined;

  constructor(parts: RankParts) {
    this.#o = parts;
    const hasher = outputHasher(
      parts.options.blockSize,
      (id) => this.#sequences.get(id),
      (sequence, id, index, hash) => this.#raw?.filled(sequence, id, index, hash),
    );
    this.#engine = simulatedRank(parts.options, parts.rank, hasher);
  }

  /** Publishes the cache's changes in vLLM's form too, if the options say where. Throws `invalid_argument`. */
  async start(): Promise<void> {
    const { options, rank } = this.#o;
    if (options.zmq === undefined) return;
    const { endpoint, replayEndpoint } = options.zmq;
    // Most workers need no ZeroMQ, so they do not load it.
    const { ZmqFeed } = await import('./zmq-feed.ts');
    const feed = await ZmqFeed.open({
      endpoint: endpointOfRank(endpoint, rank),
      replayEndpoint: replayEndpoint === undefined ? undefined : endpointOfRank(replayEndpoint, rank),
    });
    this.#raw = new RawEvents(feed, { blockSize: options.blockSize, rank });
  }

  /** Sequences that have not ended. */
  get size(): number {
    return this.#sequences.size;
  }

  get exchange(): KvExchange {
    return this.#engine.exchange;
  }

  load(): RankLoad {
    const { load } = this.#engine;
    return create(RankLoadSchema, {
      dataParallelRank: this.#o.rank,
      runningSequences: load.running,
      queuedSequences: load.waiting,
      activeKvBlocks: BigInt(load.activeBlocks),
      cachedKvBlocks: BigInt(load.cachedBlocks),
      totalKvBlocks: BigInt(load.totalBlocks),
      pendingPrefillTokens: BigInt(load.pendingPrefillTokens),
    });
  }

  cacheChanged(): void {
    const events = this.#takeEvents();
    if (events.length > 0) this.#o.deliver(new StepBuilder(0).build(events, null));
    this.#wake();
  }

  imported(prefix: KvPrefix, from: number): void {
    this.#raw?.imported(prefix, from);
  }

  poison(sequenceHash: bigint): void {
    this.#poisoned.add(sequenceHash);
  }

  isPoisoned(sequenceHash: bigint): boolean {
    return this.#poisoned.has(sequenceHash);
  }

  /** Throws StatorError for what can never be computed. */
  submit(sequence: MockerSequence): void {
    const id = this.#takeId();
    const simulated = sequence.simulated(id, this.#o.options.blockSize);
    try {
      this.#engine.submit(simulated, sequence.submittedMs);
    } catch (thrown) {
      throw thrown instanceof RequestRejectedError ? tooLong(thrown) : thrown;
    }
    this.#raw?.begin(sequence, simulated);
    this.#sequences.set(id, sequence);
    this.#ids.set(sequence.handle, id);
    // A real engine would not have hashed the prompt for the simulation first.
    this.#wake(sequence.submittedMs);
  }

  /** Ends a sequence in the next turn of the event loop, however long the pass still takes; false: it is not here. */
  cancel(handle: SequenceHandle): boolean {
    const id = this.#ids.get(handle);
    if (id === undefined) return false;
    this.#cancelled.add(id);
    this.#sweeping ??= setImmediate(() => this.#sweep());
    return true;
  }

  releaseHandoff(id: number): void {
    this.#engine.releaseHandoff(id);
    this.#wake();
  }

  clearCache(): number {
    const blocks = this.#engine.clearCache();
    this.#o.deliver(new StepBuilder(0).build(this.#takeEvents(), null));
    return blocks;
  }

  *snapshot(): Generator<KvEventChange> {
    for (const changes of this.#engine.kvSnapshot()) yield* kvMessages(changes, this.#o.rank);
  }

  stop(): void {
    this.#raw?.close();
    this.#timer.stop();
    clearImmediate(this.#sweeping);
  }

  #wake(nowMs = performance.now()): void {
    if (this.#pass === undefined && this.size > 0) this.#timer.arm(nowMs);
  }

  #turn(nowMs: number): void {
    const pass = this.#pass;
    this.#pass = undefined;
    const step = new StepBuilder(pass?.count ?? 0);
    this.#endCancelled(step);
    if (pass !== undefined) this.#complete(step, pass);
    const goesOn = this.#o.onTokens(step.tokens);
    if (goesOn) this.#begin(nowMs);
    const figures = pass === undefined ? null : forwardPass(pass, this.#o.rank);
    this.#o.deliver(step.build(this.#takeEvents(), figures));
  }

  #begin(nowMs: number): void {
    let pass = this.#engine.step(nowMs);
    const isStuck = pass === undefined && this.#engine.wakeAtMs === undefined && this.size > 0;
    if (isStuck && this.holds.letGo()) pass = this.#engine.step(nowMs);
    this.#pass = pass;
    if (pass !== undefined) this.#timer.arm(nowMs + pass.durationMs, pass.durationMs);
    else if (this.#engine.wakeAtMs !== undefined) this.#timer.arm(this.#engine.wakeAtMs);
  }

  #complete(step: StepBuilder, { count, ids, tokens, flags, cachedTokens, scheduledMs }: EngineStep): void {
    for (let i = 0; i < count; i++) {
      const id = ids[i] ?? 0;
      const sequence = this.#sequences.get(id);
      // It was cancelled while the pass was computed.
      if (sequence === undefined) continue;
      const flag = flags[i] ?? 0;
      if ((flag & stepFlags.first) !== 0) {
        sequence.cachedTokens = cachedTokens[i] ?? 0;
        step.addPrefilled(sequence, scheduledMs[i] ?? 0);
        const wrong = this.#wrongBlock(sequence);
        if (wrong >= 0) {
          this.#end(step, id, sequence, FinishReason.ERROR, { error: wrongBytes(wrong) });
          continue;
        }
      }
      this.#give(step, id, sequence, tokens[i] ?? 0, flag);
    }
  }

  /** Gives a sequence the tokens of a pass, and its end where it has one. */
  #give(step: StepBuilder, id: number, sequence: MockerSequence, tokens: number, flags: number): void {
    const failAfter = this.#o.options.faults.failSequenceAfterTokens;
    for (let i = 0; i < tokens; i++) {
      const next = sequence.sample(byteVocabulary.eos);
      if (typeof next === 'object') {
        if (next.reason === 'length') this.#end(step, id, sequence, FinishReason.LENGTH);
        else this.#end(step, id, sequence, FinishReason.STOP, { stopTokenId: next.tokenId });
        return;
      }
      step.addToken(sequence, next);
      sequence.append(next);
      if (failAfter === 0 || sequence.outputTokens < failAfter) continue;
      const error = new StatorError('engine_failed', `injected: the sequence failed after ${failAfter} tokens`);
      this.#end(step, id, sequence, FinishReason.ERROR, { error });
      return;
    }
    if ((flags & stepFlags.handoff) !== 0) this.#handOff(step, id, sequence);
    else if ((flags & stepFlags.finished) !== 0) this.#end(step, id, sequence, FinishReason.LENGTH);
  }

  /** The first of the sequence's cached blocks that has wrong bytes; -1: none. */
  #wrongBlock({ cachedTokens, tokens, salts }: MockerSequence): number {
    if (this.#poisoned.size === 0) return -1;
    const cached = Uint32Array.from(tokens.slice(0, cachedTokens));
    const { sequenceHashes } = hashBlocks(cached, this.#o.options.blockSize, salts);
    return sequenceHashes.findIndex((hash) => this.#poisoned.has(hash));
  }

  #handOff(step: StepBuilder, id: number, sequence: MockerSequence): void {
    const { promptTokens, tokens } = sequence;
    const handoff = this.#o.handoffs.add(
      { rank: this, id },
      { tokens: promptTokens, firstTokenId: tokens.at(-1) ?? 0 },
    );
    this.#forget(id, sequence);
    step.finish(sequence, FinishReason.HANDOFF, { handoff });
  }

  #end(step: StepBuilder, id: number, sequence: MockerSequence, reason: FinishReason, o: Ending = {}): void {
    this.#engine.cancel(id);
    this.#forget(id, sequence);
    step.finish(sequence, reason, o);
  }

  #forget(id: number, sequence: MockerSequence): void {
    this.#raw?.end(id);
    this.#sequences.delete(id);
    this.#ids.delete(sequence.handle);
    this.#cancelled.delete(id);
  }

  #sweep(): void {
    this.#sweeping = undefined;
    const step = new StepBuilder(0);
    this.#endCancelled(step);
    // What it held may be what others wait for.
    this.#wake();
    this.#o.deliver(step.build([], null));
  }

  #endCancelled(step: StepBuilder): void {
    for (const id of this.#cancelled) {
      const sequence = this.#sequences.get(id);
      if (sequence !== undefined) this.#end(step, id, sequence, FinishReason.CANCELLED);
    }
    this.#cancelled.clear();
  }

  #takeEvents(): KvEventChange[] {
    const changes = this.#engine.takeKvChanges();
    this.#raw?.publish(changes);
    return kvMessages(changes, this.#o.rank);
  }

  #takeId(): number {
    // Handoffs are long gone when the numbers begin anew.
    while (this.#sequences.has(this.#nextId)) this.#advanceId();
    const id = this.#nextId;
    this.#advanceId();
    return id;
  }

  #advanceId(): void {
    this.#nextId = (this.#nextId % 0x7fff_ffff) + 1;
  }
}

function tooLong({ message, actual, limit, cause }: RequestRejectedError): StatorError {
  return new StatorError('context_length_exceeded', message, { field: 'token_ids', facts: { limit, actual }, cause });
}

function wrongBytes(block: number): StatorError {
  return new StatorError('internal', `the KV of block ${block} is not that of its prefix: wrong bytes were imported`);
}
