import { create } from '@bufbuild/protobuf';
import type { RankLoad } from '#gen/stator/events/v1/events_pb.ts';
import type { WorkerRole } from '#gen/stator/model/v1/model_pb.ts';
import { type RouteDecision, type RouteRequest, RouteRequestSchema } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import type { RouterConfig } from '#services/router/config.ts';
import type { RouterContext } from '#services/router/context.ts';
import { createContext } from '#services/router/create-context.ts';
import type { LoadPoll } from '#services/router/load-poll.ts';
import type { VirtualClock } from '../clock/virtual-clock.ts';
import type { Random } from '../random.ts';
import { SimDiscovery } from './sim-discovery.ts';
import { simulatedModel } from './worker-spec.ts';

/** What the router is asked for a request, or for one stage of it. */
export interface RouteQuestion {
  readonly requestId: string;
  readonly promptTokens: number;
  readonly sequenceHashes: Uint8Array;
  readonly blockSize: number;
  readonly sessionId: string;
  readonly priority: number;
  readonly strictPriority: number;
  readonly policyClass: string;
  /** Undefined: a worker that does both stages. */
  readonly role: WorkerRole | undefined;
}

export interface RouteAnswer {
  placed(decision: RouteDecision): void;
  refused(error: StatorError): void;
}

export interface SimRouterOptions {
  readonly config: RouterConfig;
  readonly clock: VirtualClock;
  readonly random: Random;
  /** Begins to tell a worker's load as often as the router would ask for it. */
  startLoad(instanceId: bigint, onLoad: (ranks: readonly RankLoad[]) => void): LoadPoll;
  /** Called before the router looks at what waits in its queue. */
  beforeRetry(): void;
}

/** Unix time at which simulations begin; only differences to it matter. */
const epochMs = Date.UTC(2026, 0, 1);
const owner = 'simulation';

/** The production router, all of it, with virtual time, seeded chance and no network. */
export class SimRouter {
  readonly discovery = new SimDiscovery();
  readonly #context: RouterContext;
  readonly #stop = new AbortController();
  /** Questions whose answer has not come. */
  #open = 0;

  constructor({ config, clock, random, startLoad, beforeRetry }: SimRouterOptions) {
    const parts = {
      telemetry: quietTelemetry(),
      discovery: this.discovery,
      shutdown: this.#stop.signal,
      instanceId: 1n,
    };
    const time = {
      nowMs: () => clock.nowMs,
      wallMs: () => epochMs + clock.nowMs,
      after: (ms: number, run: () => void) => clock.after(ms, run),
      soon: (run: () => void) =>
        clock.after(0, () => {
          beforeRetry();
          run();
        }),
    };
    this.#context = createContext(config, parts, this.#stop.signal, time, {
      random,
      startPoll: ({ instanceId }, listener) => startLoad(instanceId, (ranks) => listener.onLoad(ranks)),
    });
    this.#context.reservations.openOwner(owner, owner);
  }

  /** Requests that wait in its queue. */
  get queued(): number {
    return this.#context.admission.size;
  }

  /** Requests in its accounts. */
  get reserved(): number {
    return this.#context.active.size;
  }

  /** Whether answers are on their way: `settle` must run before time goes on. */
  get unsettled(): boolean {
    return this.#open > this.#context.admission.size;
  }

  get index(): RouterContext['blocks']['index'] {
    return this.#context.blocks.index;
  }

  /** Begins to take the cache events of a rank; returns its slot in the index. */
  follow(instanceId: bigint, dataParallelRank: number, blockSize: number): number {
    const { pushed, following } = this.#context.blocks;
    const source = { instanceId, dataParallelRank, model: simulatedModel, blockSize };
    pushed.open(source);
    return following.slots.slotOf(source);
  }

  route(question: RouteQuestion, answer: RouteAnswer): void {
    this.#open++;
    this.#context.reservations.route(owner, requestOf(question)).then(
      (decision) => {
        this.#open--;
        answer.placed(decision);
      },
      (thrown: unknown) => {
        this.#open--;
        answer.refused(StatorError.from(thrown));
      },
    );
  }

  prefillDone(requestId: string): void {
    this.#context.reservations.prefillDone(owner, requestId);
  }

  outputBlock(requestId: string, outputTokens: number): void {
    this.#context.reservations.outputBlock(owner, requestId, outputTokens);
  }

  finish(requestId: string): void {
    this.#context.reservations.finish(owner, requestId, false);
  }

  /** Lets every answer that can be given now arrive. */
  async settle(): Promise<void> {
    while (this.unsettled) await undefined;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    const { reservations, timed, admission, blocks, workers } = this.#context;
    reservations.endOwner(owner);
    timed.close();
    admission.close();
    await blocks.close();
    workers.close();
  }
}

function requestOf(question: RouteQuestion): RouteRequest {
  const { requestId, promptTokens, sequenceHashes, blockSize, sessionId, priority, strictPriority } = question;
  return create(RouteRequestSchema, {
    requestId,
    model: simulatedModel,
    promptTokens,
    sequenceHashes,
    kvBlockSize: blockSize,
    sessionId,
    priority,
    strictPriority,
    policyClass: question.policyClass,
    ...(question.role === undefined ? {} : { constraints: { role: question.role } }),
    sequences: 1,
  });
}
