import type { PositionLogprobs } from '#gen/stator/engine/v1/generate_pb.ts';
import type { SlotFinished, SlotPrefilled } from '#gen/stator/engine/v1/session_pb.ts';
import type { StatorError } from '#lib/errors/errors.ts';
import type { SequenceEvents } from '../session/client.ts';

/** For tests: keeps everything that a session says of one sequence. */
export class Recorder implements SequenceEvents {
  readonly tokens: number[] = [];
  /** Names of the callbacks in order, `token` with its id. */
  readonly calls: string[] = [];
  readonly finished: SlotFinished[] = [];
  readonly lost: StatorError[] = [];
  readonly logprobs: PositionLogprobs[] = [];
  frameEnds = 0;
  readonly #ended = Promise.withResolvers<void>();

  /** Resolves at onFinished or onLost. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  onToken(tokenId: number): void {
    this.tokens.push(tokenId);
    this.calls.push(`token ${tokenId}`);
  }

  onLogprobs(position: PositionLogprobs): void {
    this.logprobs.push(position);
    this.calls.push('logprobs');
  }

  onPrefilled(_prefilled: SlotPrefilled): void {
    this.calls.push('prefilled');
  }

  onFinished(finished: SlotFinished): void {
    this.finished.push(finished);
    this.calls.push('finished');
    this.#ended.resolve();
  }

  onLost(error: StatorError): void {
    this.lost.push(error);
    this.calls.push('lost');
    this.#ended.resolve();
  }

  onFrameEnd(): void {
    this.frameEnds++;
    this.calls.push('frame end');
  }
}
