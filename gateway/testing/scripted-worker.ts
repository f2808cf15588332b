import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';
import type { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { FinishReason, type GenerateRequest, PositionLogprobsSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { SlotFinishedSchema, SlotPrefilledSchema } from '#gen/stator/engine/v1/session_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { SequenceEvents, WorkerSession } from '../workers/worker-session.ts';
import { encodeBytes } from './byte-tokenizer.ts';

/** A sequence that a test drives by hand. */
export class ScriptedSequence {
  readonly request: GenerateRequest;
  cancelled = false;
  readonly #events: SequenceEvents;
  readonly #forget: () => void;

  constructor(request: GenerateRequest, events: SequenceEvents, forget: () => void) {
    this.request = request;
    this.#events = events;
    this.#forget = forget;
  }

  prefilled(cachedTokens = 0, more: MessageInitShape<typeof SlotPrefilledSchema> = {}): void {
    this.#events.onPrefilled(create(SlotPrefilledSchema, { cachedTokens, ...more }));
  }

  /** One frame with a token for each byte of `text`, or with the ids themselves. */
  tokens(text: string | readonly number[]): void {
    const ids = typeof text === 'string' ? encodeBytes(text) : text;
    for (const id of ids) {
      this.#events.onToken(id);
      if (this.request.output?.topLogprobs !== undefined) this.#logprobs(id, this.request.output.topLogprobs);
    }
    this.#events.onFrameEnd();
  }

  finish(reason: FinishReason = FinishReason.STOP, stopTokenId?: number): void {
    this.#forget();
    this.#events.onFinished(
      create(SlotFinishedSchema, { reason, ...(stopTokenId === undefined ? {} : { stopTokenId }) }),
    );
    this.#events.onFrameEnd();
  }

  /** Ends a prefill: its KV can be fetched. */
  handOff(handoffId: string, deadlineUnixMs: number = Date.now() + 60_000): void {
    this.#forget();
    const handoff = { handoffId, deadlineUnixMs: BigInt(deadlineUnixMs) };
    this.#events.onFinished(create(SlotFinishedSchema, { reason: FinishReason.HANDOFF, handoff }));
    this.#events.onFrameEnd();
  }

  fail(code: string, message: string, retryable: boolean): void {
    this.#forget();
    this.#events.onFinished(
      create(SlotFinishedSchema, { reason: FinishReason.ERROR, error: { code, message, retryable } }),
    );
    this.#events.onFrameEnd();
  }

  /** Refuses the sequence because of a field of its request. */
  failOf(field: string, message: string): void {
    this.#forget();
    const error = { code: 'unsupported', message, retryable: false, field };
    this.#events.onFinished(create(SlotFinishedSchema, { reason: FinishReason.ERROR, error }));
    this.#events.onFrameEnd();
  }

  lose(): void {
    this.#forget();
    this.#events.onLost(new StatorError('stream_incomplete', 'the session broke'));
  }

  #logprobs(id: number, count: number): void {
    const top = Array.from({ length: count }, (_, place) => ({
      tokenId: id + place,
      logprob: -0.5 - place,
      rank: place + 1,
    }));
    this.#events.onLogprobs(create(PositionLogprobsSchema, { chosen: { tokenId: id, logprob: -0.5, rank: 1 }, top }));
  }
}

/** A worker session without a worker: tests decide what comes back, or give a script that every sequence follows. */
export class ScriptedWorker implements WorkerSession {
  state: WorkerSession['state'] = 'ready';
  readonly sequences: ScriptedSequence[] = [];
  readonly running = new Set<ScriptedSequence>();
  refuse: StatorError | null = null;
  /** Calls outside of its session. */
  calls: Partial<Client<typeof EngineService>> = {};
  script: ((sequence: ScriptedSequence) => void) | null;
  #onSubmit: (() => void)[] = [];

  constructor(script: ((sequence: ScriptedSequence) => void) | null = null) {
    this.script = script;
  }

  get inFlight(): number {
    return this.running.size;
  }

  submit(request: GenerateRequest, events: SequenceEvents): unknown {
    if (this.refuse !== null) throw this.refuse;
    const sequence = new ScriptedSequence(request, events, () => this.running.delete(sequence));
    this.sequences.push(sequence);
    this.running.add(sequence);
    for (const wake of this.#onSubmit.splice(0)) wake();
    const { script } = this;
    if (script !== null) setImmediate(() => script(sequence));
    return sequence;
  }

  cancel(ref: unknown): void {
    if (!(ref instanceof ScriptedSequence) || !this.running.has(ref)) return;
    ref.cancelled = true;
    this.running.delete(ref);
  }

  async ready(): Promise<void> {}

  close(): void {
    this.state = 'closed';
  }

  /** The sequence with this number, once it was submitted. */
  async sequence(index: number): Promise<ScriptedSequence> {
    for (;;) {
      const found = this.sequences[index];
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => this.#onSubmit.push(resolve));
    }
  }
}

/** Answers with a text and stops. */
export function answering(text: string): (sequence: ScriptedSequence) => void {
  return (sequence) => {
    sequence.prefilled();
    const most = sequence.request.stop?.maxTokens ?? Number.POSITIVE_INFINITY;
    const ids = encodeBytes(text).slice(0, most);
    for (const id of ids) {
      if (sequence.cancelled) return;
      sequence.tokens([id]);
    }
    if (!sequence.cancelled) sequence.finish(ids.length === most ? FinishReason.LENGTH : FinishReason.STOP);
  };
}
