import { create } from '@bufbuild/protobuf';
import { FinishReason, type GenerateRequest, GenerateRequestSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import type { SequenceRunner, SessionSequence } from '../session/server.ts';

interface Running {
  readonly sequence: SessionSequence;
  readonly seed: number;
  readonly length: number;
  produced: number;
  cancelled: boolean;
}

/** For tests: a runner whose sequences are a function of their request; `step` gives each one token. */
export class ScriptRunner implements SequenceRunner {
  readonly running = new Set<Running>();
  submitted = 0;
  cancelled = 0;
  /** What submit throws. */
  refusal: Error | undefined;

  submit(sequence: SessionSequence, request: GenerateRequest): void {
    if (this.refusal !== undefined) throw this.refusal;
    this.submitted++;
    const length = request.stop?.maxTokens ?? 1;
    this.running.add({ sequence, seed: request.tokenIds[0] ?? 0, length, produced: 0, cancelled: false });
  }

  cancel(sequence: SessionSequence): void {
    this.cancelled++;
    for (const entry of this.running) if (entry.sequence === sequence) entry.cancelled = true;
  }

  /** One engine step, without its flush. */
  step(): void {
    for (const entry of this.running) {
      if (!entry.cancelled) entry.sequence.addToken(scriptToken(entry.seed, entry.produced++));
      if (!entry.cancelled && entry.produced < entry.length) continue;
      this.running.delete(entry);
      entry.sequence.finished({
        reason: entry.cancelled ? FinishReason.CANCELLED : FinishReason.LENGTH,
        usage: { outputTokens: entry.produced },
      });
    }
  }
}

export function scriptRequest(seed: number, length: number): GenerateRequest {
  return create(GenerateRequestSchema, { tokenIds: [seed], stop: { maxTokens: length } });
}

export function scriptToken(seed: number, position: number): number {
  return (seed * 7919 + position * 131) % 200_000;
}

/** The first `length` tokens of a sequence. */
export function scriptTokens(seed: number, length: number): number[] {
  return Array.from({ length }, (_, position) => scriptToken(seed, position));
}
