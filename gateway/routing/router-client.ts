import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  BusyThresholds,
  BusyThresholdsSchema,
  ExplainResponse,
  RouteDecision,
  RouteRequest,
} from '#gen/stator/router/v1/router_pb.ts';

export type ThresholdsInit = MessageInitShape<typeof BusyThresholdsSchema>;

/** A router, remote or in the same process. A reservation lives from `route` to `finish`. */
export interface RouterClient {
  /** Chooses a worker and reserves its load; throws StatorError when none can serve the request. */
  route(request: RouteRequest, signal: AbortSignal): Promise<RouteDecision>;
  /** Says what `route` would choose and what every worker would cost; reserves nothing. Throws StatorError. */
  explain(request: RouteRequest, signal: AbortSignal): Promise<ExplainResponse>;
  /** Sets the busy thresholds of a model, or with null only reads them; returns those in force. Throws StatorError. */
  thresholds(model: string, wanted: ThresholdsInit | null, signal: AbortSignal): Promise<BusyThresholds>;
  prefillDone(requestId: string): void;
  /** Output tokens of the request so far; told once a block of them is full. */
  outputBlock(requestId: string, outputTokens: number): void;
  finish(requestId: string, outcome: { readonly workerFailed: boolean }): void;
  close(): void;
}
