import type { ExplainResponse, RouteDecision, RouteRequest } from '#gen/stator/router/v1/router_pb.ts';

/** A router, remote or in the same process. A reservation lives from `route` to `finish`. */
export interface RouterClient {
  /** Chooses a worker and reserves its load; throws StatorError when none can serve the request. */
  route(request: RouteRequest, signal: AbortSignal): Promise<RouteDecision>;
  /** Says what `route` would choose and what every worker would cost; reserves nothing. Throws StatorError. */
  explain(request: RouteRequest, signal: AbortSignal): Promise<ExplainResponse>;
  prefillDone(requestId: string): void;
  /** Output tokens of the request so far; told once a block of them is full. */
  outputBlock(requestId: string, outputTokens: number): void;
  finish(requestId: string, outcome: { readonly workerFailed: boolean }): void;
  close(): void;
}
