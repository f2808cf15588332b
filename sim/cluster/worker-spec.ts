import { create } from '@bufbuild/protobuf';
import type { RequestRole } from '#core/scheduling/engine/engine-model.ts';
import type { EngineSettings, TimingModel } from '#core/scheduling/engine/settings.ts';
import { type Instance, InstanceSchema, InstanceState, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { WorkerRole } from '#gen/stator/model/v1/model_pb.ts';

/** A worker as it is asked for. */
export interface WorkerSpec {
  readonly role: RequestRole;
  /** Data parallel ranks, each an engine of its own. */
  readonly ranks: number;
  readonly engine: EngineSettings;
  /** Undefined: the engine's default. */
  readonly timing: TimingModel | undefined;
  /** Milliseconds from the beginning until it takes requests. */
  readonly readyAfterMs: number;
}

/** The model that everything in a simulation serves. */
export const simulatedModel = 'simulated';

const roles: Readonly<Record<RequestRole, WorkerRole>> = {
  aggregated: WorkerRole.AGGREGATED,
  prefill: WorkerRole.PREFILL,
  decode: WorkerRole.DECODE,
};

/** What the worker tells discovery. It has no address: nobody can connect to it. */
export function instanceOf(spec: WorkerSpec, instanceId: bigint): Instance {
  const { contextLength, maxSequences, maxBatchedTokens, blockSize, totalBlocks, kvEvents } = spec.engine;
  const needs = spec.role === 'aggregated' ? [] : [{ roles: [WorkerRole.PREFILL, WorkerRole.DECODE] }];
  return create(InstanceSchema, {
    instanceId,
    kind: ServiceKind.WORKER,
    state: InstanceState.READY,
    cards: [
      {
        name: simulatedModel,
        role: roles[spec.role],
        needs,
        capabilities: { kvEvents },
        limits: {
          contextLength,
          maxOutputTokens: contextLength,
          maxSequences,
          maxBatchedTokens,
          kvBlockSize: blockSize,
          kvBlocks: BigInt(totalBlocks),
        },
        parallelism: { data: spec.ranks },
      },
    ],
  });
}
