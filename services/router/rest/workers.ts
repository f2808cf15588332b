import { create } from '@bufbuild/protobuf';
import { z } from 'zod';
import { type Instance, InstanceSchema, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { ModelCardSchema } from '#gen/stator/model/v1/model_pb.ts';
import { uint32, uint64 } from './fields.ts';

/** What a caller says of a worker that it wants chosen from. */
export const workerFields = z.strictObject({
  worker_id: uint64,
  model_name: z.string().min(1).default('default'),
  routing_group: z.string().min(1).default('default'),
  endpoint: z.string().default(''),
  block_size: uint32.min(1),
  data_parallel_start_rank: uint32.default(0),
  data_parallel_size: z.number().int().min(1).max(1024).default(1),
  total_kv_blocks: uint64.default(0n),
  max_num_batched_tokens: uint32.default(0),
  taints: z.array(z.string().min(1)).max(64).default([]),
  kv_events_endpoints: z.record(z.string().regex(/^\d+$/), z.string().min(1)).default({}),
  replay_endpoint: z.string().default(''),
});

export type WorkerFields = z.infer<typeof workerFields>;

/** Models of different groups never see each other's workers: the group becomes part of the name. */
export function modelKey(o: { readonly model_name: string; readonly routing_group: string }): string {
  return o.routing_group === 'default' ? o.model_name : `${o.routing_group}/${o.model_name}`;
}

/** Its registration. It has no address: the router cannot ask it for its load, only count what it placed there. */
export function instanceOf(worker: WorkerFields): Instance {
  const card = create(ModelCardSchema, {
    name: modelKey(worker),
    // Workers of one model mix only where their blocks have one size.
    digest: Uint8Array.from(Buffer.from(`${modelKey(worker)}\n${worker.block_size}`)),
    limits: {
      kvBlockSize: worker.block_size,
      kvBlocks: worker.total_kv_blocks,
      maxBatchedTokens: worker.max_num_batched_tokens,
    },
    parallelism: { data: worker.data_parallel_size, dataStartRank: worker.data_parallel_start_rank },
    taints: worker.taints,
  });
  return create(InstanceSchema, { instanceId: worker.worker_id, kind: ServiceKind.WORKER, cards: [card] });
}

/** Workers that callers made known, as they described them. Those that the router has forgotten since are none. */
export class WorkerCatalog {
  readonly #workers = new Map<bigint, WorkerFields>();
  readonly #isKnown: (id: bigint) => boolean;

  constructor(isKnown: (id: bigint) => boolean) {
    this.#isKnown = isKnown;
  }

  get(id: bigint): WorkerFields | undefined {
    if (!this.#isKnown(id)) this.#workers.delete(id);
    return this.#workers.get(id);
  }

  set(worker: WorkerFields): void {
    for (const id of this.#workers.keys()) if (!this.#isKnown(id)) this.#workers.delete(id);
    this.#workers.set(worker.worker_id, worker);
  }

  delete(id: bigint): boolean {
    return this.#workers.delete(id);
  }
}
