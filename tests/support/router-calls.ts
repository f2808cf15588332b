import type { Client } from '@connectrpc/connect';
import { RouterService, type WorkerLoad } from '#gen/stator/router/v1/router_pb.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';

/** A client of a router's own port. */
export interface RouterCalls extends AsyncDisposable {
  readonly client: Client<typeof RouterService>;
  loads(): Promise<WorkerLoad[]>;
  /** Requests that it accounts for, over all workers. */
  activeRequests(): Promise<number>;
}

export function callRouter(address: string): RouterCalls {
  const { client, close } = createRpcClient(RouterService, { address }, quietTelemetry());
  const loads = async (): Promise<WorkerLoad[]> => (await client.getLoads({})).loads;
  return {
    client,
    loads,
    activeRequests: async () => (await loads()).reduce((sum, load) => sum + load.activeRequests, 0),
    [Symbol.asyncDispose]: async () => close(),
  };
}
