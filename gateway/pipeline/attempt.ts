import type { PositionLogprobs } from '#gen/stator/engine/v1/generate_pb.ts';
import type { SlotFinished, SlotPrefilled } from '#gen/stator/engine/v1/session_pb.ts';
import type { KvHandoff } from '#gen/stator/transfer/v1/handoff_pb.ts';
import type { StatorError } from '#lib/errors/errors.ts';
import type { SequenceEvents } from '../workers/worker-session.ts';
import type { Choice } from './choice.ts';
import type { Placement } from './placement.ts';
import type { Stage } from './stage.ts';

/** Where an attempt reports what is more than a token. */
export interface AttemptOwner {
  prefilled(attempt: Attempt, prefilled: SlotPrefilled): void;
  /** A stop string ended the choice: the engine must be told. */
  stopped(attempt: Attempt): void;
  finished(attempt: Attempt, finished: SlotFinished): void;
  /** An attempt that was over already has left KV behind. */
  leftBehind(attempt: Attempt, handoff: KvHandoff): void;
  lost(attempt: Attempt, error: StatorError): void;
  frameEnd(attempt: Attempt): void;
}

/** A choice's run on one worker. Whatever arrives after it is over is dropped: a migrated choice has a newer attempt. */
export class Attempt implements SequenceEvents {
  readonly choice: Choice;
  readonly placement: Placement;
  readonly stage: Stage;
  /** The session's name of the sequence; set right after submit. */
  ref: unknown = null;
  live = true;
  /** How many of the choice's tokens accounting has seen. */
  countedTokens: number;
  readonly #owner: AttemptOwner;

  constructor(choice: Choice, placement: Placement, stage: Stage, owner: AttemptOwner) {
    this.choice = choice;
    this.placement = placement;
    this.stage = stage;
    this.countedTokens = choice.tokenIds.length;
    this.#owner = owner;
  }

  onToken(tokenId: number): void {
    if (this.live && this.choice.push(tokenId)) this.#owner.stopped(this);
  }

  onLogprobs(position: PositionLogprobs): void {
    if (this.live) this.choice.logprobs.push(position);
  }

  onPrefilled(prefilled: SlotPrefilled): void {
    if (this.live) this.#owner.prefilled(this, prefilled);
  }

  onFinished(finished: SlotFinished): void {
    if (this.live) this.#owner.finished(this, finished);
    else if (finished.handoff !== undefined) this.#owner.leftBehind(this, finished.handoff);
  }

  onLost(error: StatorError): void {
    if (this.live) this.#owner.lost(this, error);
  }

  onFrameEnd(): void {
    this.#owner.frameEnd(this);
  }
}
