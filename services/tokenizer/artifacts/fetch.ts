import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import type { RpcTarget } from '#lib/rpc/target.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';

/** Part of a file of a model. */
export interface FetchRange {
  readonly model: string;
  readonly name: string;
  readonly offset: bigint;
  /** 0: to the end. */
  readonly length: bigint;
}

/** Reads a worker's file, in pieces. */
export type FetchArtifact = (worker: Instance, range: FetchRange, signal: AbortSignal) => AsyncIterable<Uint8Array>;

/** Reads files by EngineService.FetchArtifact. */
export function rpcFetch(target: (worker: Instance) => RpcTarget, telemetry: Telemetry): FetchArtifact {
  return async function* fetch(worker, range, signal) {
    const rpc = createRpcClient(EngineService, target(worker), telemetry);
    try {
      for await (const { data } of rpc.client.fetchArtifact(range, { signal })) yield data;
    } catch (cause) {
      throw new StatorError('not_ready', `${range.name} could not be fetched from ${worker.address}.`, { cause });
    } finally {
      rpc.close();
    }
  };
}
