import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { unpackHashes } from '#core/tokens/packed-hashes.ts';
import { type FinishReason, GenerateRequestSchema, type PositionLogprobs } from '#gen/stator/engine/v1/generate_pb.ts';
import type { FinishedInfo, PrefilledInfo } from '#lib/rpc/session/server.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import type { Engine, KvEventChange, StepBatch } from './engine.ts';
import { EngineHost } from './host.ts';
import type { RunningSequence, SequenceSink } from './sequence.ts';

export type RequestInit = MessageInitShape<typeof GenerateRequestSchema>;

/** Everything one sequence got, in the order in which it came. */
export class Recording implements SequenceSink {
  readonly tokens: number[] = [];
  readonly logprobs: { readonly entry: number; readonly position: PositionLogprobs }[] = [];
  readonly prefills: PrefilledInfo[] = [];
  readonly ends: FinishedInfo[] = [];
  /** Tokens that came after the end; there must be none. */
  late = 0;
  sequence: RunningSequence | undefined;
  onToken: ((count: number) => void) | undefined;
  readonly #ended = Promise.withResolvers<FinishedInfo>();

  get ended(): Promise<FinishedInfo> {
    return this.#ended.promise;
  }

  addToken(tokenId: number): number {
    if (this.ends.length > 0) this.late++;
    this.tokens.push(tokenId);
    this.onToken?.(this.tokens.length);
    return this.tokens.length - 1;
  }

  addLogprobs(entry: number, position: PositionLogprobs): void {
    this.logprobs.push({ entry, position });
  }

  prefilled(info: PrefilledInfo): void {
    this.prefills.push(info);
  }

  finished(info: FinishedInfo): void {
    this.ends.push(info);
    this.#ended.resolve(info);
  }

  get reason(): FinishReason | undefined {
    return this.ends[0]?.reason;
  }
}

/** Drives an engine as the worker does, and mirrors its cache from its events. */
export class EngineDriver {
  readonly host: EngineHost;
  /** Sequence hash of every block that the events say is cached, with its parent. */
  readonly mirror = new Map<bigint, bigint | null>();
  /** What of the events contradicts itself or the snapshot; must stay empty. */
  readonly faults: string[] = [];
  steps = 0;

  constructor(engine: Engine) {
    this.host = new EngineHost({
      engine: watchSteps(engine, (step) => this.#mirror(step)),
      telemetry: quietTelemetry(),
      kvEventRing: 4096,
      forwardPassRing: 16,
      onStepEnd: () => this.#compare(),
      onFatal: (error) => this.faults.push(`fatal: ${error.message}`),
    });
  }

  submit(init: RequestInit): Recording {
    const recording = new Recording();
    recording.sequence = this.host.submit(create(GenerateRequestSchema, init), recording);
    return recording;
  }

  async run(init: RequestInit): Promise<Recording> {
    const recording = this.submit(init);
    await recording.ended;
    return recording;
  }

  /** Greedy tokens computed from an empty cache. */
  async greedy(tokenIds: readonly number[], maxTokens: number): Promise<number[]> {
    await this.host.engine.clearCache();
    const request = { tokenIds: [...tokenIds], sampling: { temperature: 0 }, stop: { maxTokens, ignoreEos: true } };
    return (await this.run(request)).tokens;
  }

  #mirror(step: StepBatch): void {
    this.steps++;
    for (const { change } of step.kvEvents) this.#apply(change);
  }

  #apply(change: KvEventChange['change']): void {
    if (change.case === 'cleared') this.mirror.clear();
    if (change.case === 'removed') {
      for (const hash of unpackHashes(change.value.sequenceHashes))
        if (!this.mirror.delete(hash)) this.faults.push(`removed ${hash}, which was not stored`);
    }
    if (change.case !== 'stored') return;
    let parent = change.value.parentSequenceHash ?? null;
    if (parent !== null && !this.mirror.has(parent)) this.faults.push(`stored after ${parent}, which is not there`);
    for (const hash of unpackHashes(change.value.sequenceHashes)) {
      if (this.mirror.has(hash)) this.faults.push(`stored ${hash} twice`);
      this.mirror.set(hash, parent);
      parent = hash;
    }
  }

  #compare(): void {
    if (this.host.card.capabilities?.kvEvents !== true) return;
    const snapshot = new Set<bigint>();
    for (const { change } of this.host.engine.kvSnapshot()) {
      if (change.case !== 'stored') this.faults.push(`a snapshot holds ${change.case}`);
      else for (const hash of unpackHashes(change.value.sequenceHashes)) snapshot.add(hash);
    }
    const missing = [...this.mirror.keys()].filter((hash) => !snapshot.has(hash));
    if (missing.length > 0) this.faults.push(`events stored ${missing[0]}, the snapshot lacks it`);
    if (snapshot.size > this.mirror.size) this.faults.push('the snapshot has blocks that no event stored');
  }
}

/** The same engine, whose steps are seen before the host sees them. */
function watchSteps(engine: Engine, onStep: (step: StepBatch) => void): Engine {
  return new Proxy(engine, {
    get(target, property) {
      if (property === 'start') {
        const start: Engine['start'] = (listener, options) =>
          target.start(
            {
              onStep(step) {
                onStep(step);
                listener.onStep(step);
              },
              onFatal: (error) => listener.onFatal(error),
            },
            options,
          );
        return start;
      }
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
