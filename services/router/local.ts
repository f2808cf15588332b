import { create } from '@bufbuild/protobuf';
import {
  type ExplainResponse,
  ExplainResponseSchema,
  type RouteDecision,
  type RouteRequest,
} from '#gen/stator/router/v1/router_pb.ts';
import type { Placer } from './placer.ts';
import type { Reservations } from './reservations.ts';

/** The router for a gateway in the same process: function calls with the meaning of a session. */
export interface LocalRouter {
  route(request: RouteRequest, signal: AbortSignal): Promise<RouteDecision>;
  explain(request: RouteRequest, signal: AbortSignal): Promise<ExplainResponse>;
  prefillDone(requestId: string): void;
  outputBlock(requestId: string, outputTokens: number): void;
  finish(requestId: string, outcome: { readonly workerFailed: boolean }): void;
  close(): void;
}

export function createLocalRouter(reservations: Reservations, placer: Placer, owner: string): LocalRouter {
  return {
    async route(request, signal) {
      signal.throwIfAborted();
      const giveUp = (): void => reservations.finish(owner, request.requestId, false);
      signal.addEventListener('abort', giveUp, { once: true });
      return reservations.route(owner, request).finally(() => signal.removeEventListener('abort', giveUp));
    },
    async explain(request, signal) {
      signal.throwIfAborted();
      const { decision, costs } = placer.explain(request);
      return create(ExplainResponseSchema, { costs, ...(decision === undefined ? {} : { decision }) });
    },
    prefillDone: (requestId) => reservations.prefillDone(owner, requestId),
    outputBlock: (requestId, outputTokens) => reservations.outputBlock(owner, requestId, outputTokens),
    finish: (requestId, { workerFailed }) => reservations.finish(owner, requestId, workerFailed),
    close: () => reservations.endOwner(owner),
  };
}
