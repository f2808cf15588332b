import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';
import {
  type ReannounceSchema,
  type RouteDecision,
  type RouteRequest,
  type RouterService,
  type SessionRequest,
  SessionRequestSchema,
} from '#gen/stator/router/v1/router_pb.ts';
import { isErrorCode } from '#lib/errors/codes.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { Outbox } from '#lib/rpc/outbox.ts';

/** What random load is put on: a session of a gateway or the router of one's own process. */
export interface Caller {
  route(request: RouteRequest, signal: AbortSignal): Promise<RouteDecision>;
  prefillDone(requestId: string): void;
  outputBlock(requestId: string, outputTokens: number): void;
  finish(requestId: string, outcome: { readonly workerFailed: boolean }): void;
  /** Where it is a session: announces a request that another session had. */
  reannounce?(announced: MessageInitShape<typeof ReannounceSchema>): void;
  /** Ends it at once, with everything that it has. */
  close(): void;
}

type MessageInit = NonNullable<MessageInitShape<typeof SessionRequestSchema>['message']>;

/** A session that says whatever it is told to, also what no gateway would. */
export class RawSession implements Caller {
  readonly #outbox = new Outbox<SessionRequest>(1 << 20);
  readonly #waiting = new Map<string, { resolve(decision: RouteDecision): void; reject(error: Error): void }>();
  readonly #cut = new AbortController();

  constructor(client: Client<typeof RouterService>, gatewayId: string) {
    this.#send({ case: 'hello', value: { gatewayId } });
    void this.#read(client).catch(() => this.#end());
  }

  route(request: RouteRequest, signal: AbortSignal): Promise<RouteDecision> {
    const { requestId } = request;
    if (this.#cut.signal.aborted) return Promise.reject(gone());
    return new Promise((resolve, reject) => {
      // Two empty identifiers may be on their way at once.
      if (this.#waiting.has(requestId)) reject(gone());
      else this.#waiting.set(requestId, { resolve, reject });
      signal.addEventListener('abort', () => this.finish(requestId, { workerFailed: false }), { once: true });
      this.#send({ case: 'route', value: request });
    });
  }

  prefillDone(requestId: string): void {
    this.#send({ case: 'prefillDone', value: { requestId } });
  }

  outputBlock(requestId: string, outputTokens: number): void {
    this.#send({ case: 'outputBlock', value: { requestId, outputTokens } });
  }

  finish(requestId: string, { workerFailed }: { readonly workerFailed: boolean }): void {
    this.#send({ case: 'finish', value: { requestId, workerFailed } });
  }

  reannounce(announced: MessageInitShape<typeof ReannounceSchema>): void {
    this.#send({ case: 'reannounce', value: announced });
  }

  close(): void {
    this.#cut.abort();
    this.#end();
  }

  async #read(client: Client<typeof RouterService>): Promise<void> {
    for await (const { message } of client.session(this.#outbox, { signal: this.#cut.signal })) {
      if (message.case !== 'routed') continue;
      const { requestId, outcome } = message.value;
      const waiting = this.#waiting.get(requestId);
      this.#waiting.delete(requestId);
      if (outcome.case === 'decision') waiting?.resolve(outcome.value);
      else waiting?.reject(new StatorError(codeOf(outcome.value?.code), outcome.value?.message ?? ''));
    }
    this.#end();
  }

  #end(): void {
    this.#outbox.close();
    for (const { reject } of this.#waiting.values()) reject(gone());
    this.#waiting.clear();
  }

  #send(message: MessageInit): void {
    this.#outbox.push(create(SessionRequestSchema, { message }));
  }
}

function codeOf(code: string | undefined): ConstructorParameters<typeof StatorError>[0] {
  return code !== undefined && isErrorCode(code) ? code : 'backend_protocol';
}

function gone(): StatorError {
  return new StatorError('stream_incomplete', 'The session has ended.');
}
