import type { MessageInitShape } from '@bufbuild/protobuf';
import type { GenerateRequest, PositionLogprobs } from '#gen/stator/engine/v1/generate_pb.ts';
import type { SlotFinishedSchema, SlotPrefilledSchema } from '#gen/stator/engine/v1/session_pb.ts';

/** SlotPrefilled without its slot. */
export type PrefilledInfo = Omit<MessageInitShape<typeof SlotPrefilledSchema>, 'slot' | '$typeName'>;
/** SlotFinished without its slot. */
export type FinishedInfo = Omit<MessageInitShape<typeof SlotFinishedSchema>, 'slot' | '$typeName'>;

/** One sequence of a session, for the worker to fill. After `finished`, and once its session is gone, calls do nothing. */
export interface SessionSequence {
  readonly slot: number;
  /** The gateway that sent it, for logs. */
  readonly gatewayId: string;
  /** Whether the gateway asked to end it, or its session is gone. */
  readonly cancelled: boolean;
  /** Adds a token to the session's next frame; returns its index there, for addLogprobs. */
  addToken(tokenId: number): number;
  addLogprobs(entry: number, position: PositionLogprobs): void;
  prefilled(info: PrefilledInfo): void;
  /** The terminal entry: the slot is free afterwards. */
  finished(info: FinishedInfo): void;
  /** Sends its session's frame now; within an engine step call SessionServer.flushStep() at its end instead. */
  flush(): void;
}

/** What runs the sequences of sessions. */
export interface SequenceRunner {
  /** Takes a sequence; `finished` must follow exactly once. Throws StatorError to refuse it. */
  submit(sequence: SessionSequence, request: GenerateRequest): void;
  /** Ends a sequence early; its `finished` still follows. Called at most once for each sequence. */
  cancel(sequence: SessionSequence): void;
}
