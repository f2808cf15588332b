import type { GenerateRequest, PositionLogprobs } from '#gen/stator/engine/v1/generate_pb.ts';
import type { SlotFinished, SlotPrefilled } from '#gen/stator/engine/v1/session_pb.ts';
import type { StatorError } from '#lib/errors/errors.ts';

/** What a worker session tells of one sequence. Called synchronously while a frame is read. */
export interface SequenceEvents {
  onToken(tokenId: number): void;
  /** Belongs to the last onToken. */
  onLogprobs(position: PositionLogprobs): void;
  onPrefilled(prefilled: SlotPrefilled): void;
  onFinished(finished: SlotFinished): void;
  /** The session is gone and the sequence with it. */
  onLost(error: StatorError): void;
  /** Once for each touched sequence and frame, after its entries. */
  onFrameEnd(): void;
}

/** The gateway's side of the stream to one worker; lib/rpc's EngineSession is one. `Ref` names a running sequence. */
export interface WorkerSession<Ref = unknown> {
  readonly state: 'connecting' | 'ready' | 'reconnecting' | 'closed';
  readonly inFlight: number;
  /** Throws StatorError if the worker cannot take the sequence now. */
  submit(request: GenerateRequest, events: SequenceEvents): Ref;
  cancel(ref: Ref): void;
  ready(signal: AbortSignal): Promise<void>;
  close(): void;
}
