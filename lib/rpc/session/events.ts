import type { GenerateRequest, PositionLogprobs } from '#gen/stator/engine/v1/generate_pb.ts';
import type { SlotFinished, SlotPrefilled } from '#gen/stator/engine/v1/session_pb.ts';
import type { StatorError } from '#lib/errors/errors.ts';

/**
 * What a session tells of one sequence, synchronously while a frame is read, in this order within a frame: tokens with their
 * log-probabilities, prefilled, finished, frame end. Exactly one of onFinished and onLost comes last. What a callback throws
 * ends its sequence: it is cancelled, logged, and gets onLost.
 */
export interface SequenceEvents {
  onToken(tokenId: number): void;
  /** Belongs to the last onToken. */
  onLogprobs(position: PositionLogprobs): void;
  onPrefilled(prefilled: SlotPrefilled): void;
  onFinished(finished: SlotFinished): void;
  /** The session is gone and the sequence with it: `stream_incomplete`. */
  onLost(error: StatorError): void;
  /** Once for each touched sequence and frame, after its entries; also in the frame that finishes it. */
  onFrameEnd(): void;
}

/** Names a sequence of an EngineSession. */
export interface SequenceRef {
  readonly slot: number;
  /** Whether onFinished or onLost was called. */
  readonly ended: boolean;
}

/** A sequence that the gateway waits for. */
export class ClientSequence implements SequenceRef {
  readonly slot: number;
  events: SequenceEvents;
  /** Kept until the worker shows that it has it, to be sent again where a connection broke in between. */
  request: GenerateRequest | undefined;
  ended = false;
  cancelled = false;
  /** Number of the last frame that touched it. */
  touchedFrame = 0;

  constructor(slot: number, request: GenerateRequest, events: SequenceEvents) {
    this.slot = slot;
    this.request = request;
    this.events = events;
  }
}

/** Takes what still comes for a sequence that nobody listens to any more. */
export const silentEvents: SequenceEvents = {
  onToken: () => {},
  onLogprobs: () => {},
  onPrefilled: () => {},
  onFinished: () => {},
  onLost: () => {},
  onFrameEnd: () => {},
};
