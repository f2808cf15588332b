import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { createHandlerContext } from '@connectrpc/connect';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { type SessionRequest, SessionRequestSchema, SessionResponseSchema } from '#gen/stator/engine/v1/session_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { LinkEvents, OpenLink, SessionLink } from '../session/link.ts';
import type { SessionServer } from '../session/server.ts';

/** For tests: connections within the process that break after as many messages of each direction as asked. */
export class MemoryLinks {
  readonly #server: SessionServer;
  #current: MemoryLink | undefined;
  opened = 0;

  constructor(server: SessionServer) {
    this.#server = server;
  }

  readonly open: OpenLink = (events) => {
    this.opened++;
    this.#current = new MemoryLink(this.#server, events);
    return this.#current;
  };

  /** Breaks the present connection after so many more messages up and down. */
  cutAfter(up: number, down: number): void {
    this.#current?.cutAfter(up, down);
  }
}

class MemoryLink implements SessionLink {
  readonly #events: LinkEvents;
  readonly #context = createHandlerContext({
    service: EngineService,
    method: EngineService.method.session,
    protocolName: 'memory',
    requestMethod: 'POST',
    url: 'memory://worker',
  });
  readonly #requests: SessionRequest[] = [];
  #wake: (() => void) | undefined;
  #upLeft = Number.POSITIVE_INFINITY;
  #downLeft = Number.POSITIVE_INFINITY;
  #ended = false;
  #broken = false;

  constructor(server: SessionServer, events: LinkEvents) {
    this.#events = events;
    void this.#serve(server);
  }

  send(request: SessionRequest): void {
    if (this.#broken || this.#ended || this.#upLeft <= 0) return;
    this.#upLeft--;
    this.#requests.push(fromBinary(SessionRequestSchema, toBinary(SessionRequestSchema, request)));
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  destroy(): void {
    this.#break(new StatorError('cancelled', 'connection was dropped'));
  }

  cutAfter(up: number, down: number): void {
    this.#upLeft = Math.min(this.#upLeft, up);
    this.#downLeft = Math.min(this.#downLeft, down);
    if (this.#downLeft === 0) this.destroy();
  }

  async #serve(server: SessionServer): Promise<void> {
    try {
      for await (const response of server.handle(this.#incoming(), this.#context)) {
        if (this.#broken) return;
        this.#events.onMessage(toBinary(SessionResponseSchema, response));
        if (--this.#downLeft <= 0) this.destroy();
      }
      this.#finish(new StatorError('worker_unavailable', 'worker ended the session'), true);
    } catch (thrown) {
      this.#finish(StatorError.from(thrown), true);
    }
  }

  async *#incoming(): AsyncGenerator<SessionRequest> {
    for (;;) {
      const request = this.#requests.shift();
      if (this.#broken) throw new Error('connection broke');
      if (request !== undefined) yield request;
      else if (this.#ended) return;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
  }

  #break(error: StatorError): void {
    if (this.#broken) return;
    this.#broken = true;
    this.#context.abort(error);
    this.#wake?.();
    queueMicrotask(() => this.#events.onEnd(error, false));
  }

  #finish(error: StatorError, final: boolean): void {
    if (this.#broken) return;
    this.#broken = true;
    this.#events.onEnd(error, final);
  }
}
