import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  type BusyThresholds,
  BusyThresholdsSchema,
  type ExplainResponse,
  type RouteDecision,
  type RouteRequest,
} from '#gen/stator/router/v1/router_pb.ts';
import type { RouterContext } from './context.ts';
import { updateThresholds } from './handlers/set-thresholds.ts';

/** The router for a gateway in the same process: function calls with the meaning of a session. */
export interface LocalRouter {
  route(request: RouteRequest, signal: AbortSignal): Promise<RouteDecision>;
  explain(request: RouteRequest, signal: AbortSignal): Promise<ExplainResponse>;
  thresholds(
    model: string,
    wanted: MessageInitShape<typeof BusyThresholdsSchema> | null,
    signal: AbortSignal,
  ): Promise<BusyThresholds>;
  prefillDone(requestId: string): void;
  outputBlock(requestId: string, outputTokens: number): void;
  finish(requestId: string, outcome: { readonly workerFailed: boolean }): void;
  close(): void;
}

export function createLocalRouter(context: RouterContext, owner: string): LocalRouter {
  const { reservations } = context;
  return {
    async route(request, signal) {
      signal.throwIfAborted();
      const giveUp = (): void => reservations.finish(owner, request.requestId, false);
      signal.addEventListener('abort', giveUp, { once: true });
      return reservations.route(owner, request).finally(() => signal.removeEventListener('abort', giveUp));
    },
    async explain(request, signal) {
      signal.throwIfAborted();
      return reservations.explain(request);
    },
    async thresholds(model, wanted, signal) {
      signal.throwIfAborted();
      return updateThresholds(context, model, wanted === null ? undefined : create(BusyThresholdsSchema, wanted));
    },
    prefillDone: (requestId) => reservations.prefillDone(owner, requestId),
    outputBlock: (requestId, outputTokens) => reservations.outputBlock(owner, requestId, outputTokens),
    finish: (requestId, { workerFailed }) => reservations.finish(owner, requestId, workerFailed),
    close: () => reservations.endOwner(owner),
  };
}
