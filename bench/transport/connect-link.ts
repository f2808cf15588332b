import { type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { EmptySchema } from '@bufbuild/protobuf/wkt';
import type { StreamResponse } from '@connectrpc/connect';
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import type { SessionRequest, SessionRequestSchema } from '#gen/stator/engine/v1/session_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { LinkEvents, OpenLink } from '#lib/rpc/session/link.ts';

/** The method with an output of which connect decodes nothing: EngineSession reads the bytes itself. */
const method = { ...EngineService.method.session, output: EmptySchema };

/** A session link by connect-node's client. */
export function connectLink(address: string): OpenLink {
  return (events) => {
    const baseUrl = `http://${address}`;
    const manager = new Http2SessionManager(baseUrl, {}, { settings: { initialWindowSize: 1024 * 1024 } });
    const transport = createGrpcTransport({ baseUrl, sessionManager: manager, acceptCompression: [] });
    const requests = new RequestQueue();
    void receive(transport.stream(method, undefined, undefined, undefined, requests.iterate()), events);
    return { send: (request) => requests.push(request), end: () => requests.end(), destroy: () => manager.abort() };
  };
}

type Responses = Promise<StreamResponse<typeof SessionRequestSchema, typeof EmptySchema>>;

async function receive(responses: Responses, events: LinkEvents): Promise<void> {
  try {
    for await (const response of (await responses).message) events.onMessage(toBinary(EmptySchema, response));
    events.onEnd(new StatorError('worker_unavailable', 'worker ended the session'), true);
  } catch (thrown) {
    events.onEnd(StatorError.from(thrown), false);
  }
}

class RequestQueue {
  readonly #queue: SessionRequest[] = [];
  #wake: (() => void) | undefined;
  #ended = false;

  push(request: SessionRequest): void {
    this.#queue.push(request);
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async *iterate(): AsyncGenerator<MessageInitShape<typeof SessionRequestSchema>> {
    for (;;) {
      const request = this.#queue.shift();
      if (request !== undefined) yield request;
      else if (this.#ended) return;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
  }
}
