import type { SessionRequest } from '#gen/stator/engine/v1/session_pb.ts';
import type { StatorError } from '#lib/errors/errors.ts';

/** One connection of a session, as its gateway side sees it. */
export interface SessionLink {
  /** Queues a message; never waits. */
  send(request: SessionRequest): void;
  /** Ends the session in good order: what was sent still arrives. */
  end(): void;
  /** Drops the connection. */
  destroy(): void;
}

export interface LinkEvents {
  /** Bytes of a SessionResponse, valid during the call. */
  onMessage(bytes: Uint8Array): void;
  /**
   * The connection is gone, once. `final`: the session cannot be resumed, because the worker ended it or because nobody
   * listens at the worker's address any more.
   */
  onEnd(error: StatorError, final: boolean): void;
}

/** Opens a connection; failures come by onEnd, never as an exception. */
export type OpenLink = (events: LinkEvents) => SessionLink;
