import { create } from '@bufbuild/protobuf';
import type { Client } from '@connectrpc/connect';
import {
  type BusyThresholds,
  BusyThresholdsSchema,
  type ExplainResponse,
  type RouteDecision,
  type Routed,
  type RouteRequest,
  type RouterService,
  type SessionRequest,
  SessionRequestSchema,
} from '#gen/stator/router/v1/router_pb.ts';
import { isErrorCode } from '#lib/errors/codes.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { parseFacts } from '#lib/rpc/errors.ts';
import { Outbox } from '#lib/rpc/outbox.ts';

import type { RouterClient, ThresholdsInit } from './router-client.ts';

interface Waiting {
  resolve(decision: RouteDecision): void;
  reject(error: StatorError): void;
}

/** A reservation that the router must hear of again if it restarts. */
export interface Reserved {
  readonly route: RouteRequest;
  readonly decision: RouteDecision;
  prefillDone: boolean;
  outputTokens: number;
}

export interface RemoteRouterOptions {
  readonly gatewayId: string;
  readonly client: Pick<Client<typeof RouterService>, 'session' | 'explain' | 'setThresholds'>;
  /** Closes the connection under `client`. */
  onClose(): void;
  /** Most messages on their way to the router. */
  readonly maxOutbox: number;
  /** Milliseconds before the next attempt, by the number of attempts that failed. */
  backoffMs(failures: number): number;
  /** Told when the session opens or breaks. */
  onStateChange(connected: boolean): void;
}

/** The error of calls that found no session: the caller may place the request by itself. */
export function routerGone(): StatorError {
  return new StatorError('not_ready', 'The router cannot be reached.', { retryAfterMs: 500 });
}

/**
 * A session with one router. It reconnects by itself; a router that restarted is told of every reservation that is still
 * alive, so that its accounts stay right.
 */
export class RemoteRouter implements RouterClient {
  readonly #options: RemoteRouterOptions;
  readonly #waiting = new Map<string, Waiting>();
  readonly #reserved = new Map<string, Reserved>();
  readonly #stop = new AbortController();
  #outbox: Outbox<SessionRequest> | null = null;
  #connected = false;

  constructor(options: RemoteRouterOptions) {
    this.#options = options;
    void this.#run();
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** Reservations that are alive. */
  get reservations(): number {
    return this.#reserved.size;
  }

  route(request: RouteRequest, signal: AbortSignal): Promise<RouteDecision> {
    const { requestId } = request;
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        this.#waiting.delete(requestId);
        signal.removeEventListener('abort', onAbort);
      };
      const onAbort = (): void => {
        settle();
        this.#send({ case: 'finish', value: { requestId } });
        reject(StatorError.from(signal.reason));
      };
      if (signal.aborted) return reject(StatorError.from(signal.reason));
      this.#waiting.set(requestId, {
        resolve: (decision) => {
          settle();
          this.#reserved.set(requestId, { route: request, decision, prefillDone: false, outputTokens: 0 });
          resolve(decision);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      });
      signal.addEventListener('abort', onAbort, { once: true });
      if (!this.#connected || !this.#send({ case: 'route', value: request }))
        this.#waiting.get(requestId)?.reject(routerGone());
    });
  }

  explain(request: RouteRequest, signal: AbortSignal): Promise<ExplainResponse> {
    return this.#call(signal, () => this.#options.client.explain({ route: request }, { signal }));
  }

  async thresholds(model: string, wanted: ThresholdsInit | null, signal: AbortSignal): Promise<BusyThresholds> {
    const request = wanted === null ? { model } : { model, thresholds: wanted };
    const { thresholds } = await this.#call(signal, () => this.#options.client.setThresholds(request, { signal }));
    return thresholds ?? create(BusyThresholdsSchema);
  }

  /** Whether a reservation was made here. */
  holds(requestId: string): boolean {
    return this.#reserved.has(requestId);
  }

  prefillDone(requestId: string): void {
    const reserved = this.#reserved.get(requestId);
    if (reserved === undefined) return;
    reserved.prefillDone = true;
    this.#send({ case: 'prefillDone', value: { requestId } });
  }

  outputBlock(requestId: string, outputTokens: number): void {
    const reserved = this.#reserved.get(requestId);
    if (reserved === undefined) return;
    reserved.outputTokens = outputTokens;
    this.#send({ case: 'outputBlock', value: { requestId, outputTokens } });
  }

  finish(requestId: string, o: { workerFailed: boolean }): void {
    if (!this.#reserved.delete(requestId)) return;
    this.#send({ case: 'finish', value: { requestId, workerFailed: o.workerFailed } });
  }

  /** Takes over reservations of a router that is gone, and announces them. */
  adopt(reservations: Iterable<Reserved>): void {
    for (const reserved of reservations) {
      this.#reserved.set(reserved.route.requestId, reserved);
      if (this.#connected) this.#reannounce(reserved);
    }
  }

  /** Gives up the reservations that are alive, for another router to adopt. */
  release(): Reserved[] {
    const reservations = [...this.#reserved.values()];
    this.#reserved.clear();
    return reservations;
  }

  close(): void {
    this.#stop.abort();
    this.#outbox?.close();
    this.#options.onClose();
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.#stop.signal.aborted) {
      try {
        await this.#connect();
        failures = 0;
      } catch {
        failures += 1;
      }
      this.#disconnected();
      if (this.#stop.signal.aborted) return;
      await pause(this.#options.backoffMs(failures), this.#stop.signal);
    }
  }

  async #connect(): Promise<void> {
    const outbox = new Outbox<SessionRequest>(this.#options.maxOutbox);
    this.#outbox = outbox;
    this.#send({ case: 'hello', value: { gatewayId: this.#options.gatewayId } });
    const responses = this.#options.client.session(outbox, { signal: this.#stop.signal });
    for await (const { message } of responses) {
      if (message.case === 'welcome') this.#welcomed();
      else if (message.case === 'routed') this.#routed(message.value);
    }
  }

  #welcomed(): void {
    // Every session that ends takes its reservations along, so any new one needs them again.
    for (const reserved of this.#reserved.values()) this.#reannounce(reserved);
    this.#connected = true;
    this.#options.onStateChange(true);
  }

  async #call<T>(signal: AbortSignal, call: () => Promise<T>): Promise<T> {
    if (!this.#connected) throw routerGone();
    try {
      return await call();
    } catch (thrown) {
      // The session says first that the router is gone; what the call says then is of no use to anyone.
      throw this.#connected || signal.aborted ? StatorError.from(thrown) : routerGone();
    }
  }

  #reannounce({ route, decision, prefillDone, outputTokens }: Reserved): void {
    const { instanceId, dataParallelRank, overlapTokens } = decision;
    const placed = { route, instanceId, dataParallelRank, overlapTokens };
    this.#send({ case: 'reannounce', value: { ...placed, prefillDone, outputTokens } });
  }

  #routed(routed: Routed): void {
    const waiting = this.#waiting.get(routed.requestId);
    const { outcome } = routed;
    if (waiting === undefined) {
      // The caller gave up while the router decided.
      if (outcome.case === 'decision') this.#send({ case: 'finish', value: { requestId: routed.requestId } });
      return;
    }
    if (outcome.case === 'decision') waiting.resolve(outcome.value);
    else waiting.reject(refusalOf(outcome.case === 'refused' ? outcome.value : null));
  }

  #disconnected(): void {
    this.#outbox?.close();
    this.#outbox = null;
    if (this.#connected) this.#options.onStateChange(false);
    this.#connected = false;
    for (const waiting of [...this.#waiting.values()]) waiting.reject(routerGone());
  }

  #send(message: MessageInit): boolean {
    return this.#outbox?.push(create(SessionRequestSchema, { message })) ?? false;
  }
}

type MessageInit = NonNullable<NonNullable<Parameters<typeof create<typeof SessionRequestSchema>>[1]>['message']>;

function refusalOf(
  refused: { code: string; message: string; retryAfterMs: number; field: string; factsJson: string } | null,
): StatorError {
  if (refused === null) return new StatorError('backend_protocol', 'The router answered without an outcome.');
  const code = isErrorCode(refused.code) ? refused.code : 'worker_unavailable';
  const facts = parseFacts(refused.factsJson);
  return new StatorError(code, refused.message, {
    ...(refused.retryAfterMs > 0 ? { retryAfterMs: refused.retryAfterMs } : {}),
    ...(refused.field === '' ? {} : { field: refused.field }),
    ...(facts === undefined ? {} : { facts }),
  });
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
  });
}
