import { randomUUID } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { z } from 'zod';
import {
  type RouteDecision,
  type RouteRequest,
  RouteRequestSchema,
  type WorkerCost,
} from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { RouterContext } from '../context.ts';
import { checkedBody, uint32, uint64 } from './fields.ts';
import type { RestAnswer, RestCall, RestRoute } from './http.ts';
import { promptFields, promptOf } from './prompt.ts';
import { modelKey, type WorkerCatalog } from './workers.ts';

const scope = { model_name: z.string().min(1).default('default'), routing_group: z.string().min(1).default('default') };

const selectionFields = z.strictObject({
  selection_id: z.string().min(1).max(256).optional(),
  ...scope,
  ...promptFields,
  priority_jump: z.number().default(0),
  strict_priority: uint32.default(0),
  expected_output_tokens: uint32.optional(),
  policy_class: z.string().default(''),
  session_id: z.string().max(256).default(''),
  allowed_worker_ids: z.array(uint64).default([]),
  routing_constraints: z
    .strictObject({
      required_taints: z.array(z.string()).default([]),
      preferred_taints: z.record(z.string(), z.number()).default({}),
    })
    .default({ required_taints: [], preferred_taints: {} }),
});

const reservationFields = selectionFields.extend({
  worker_id: uint64,
  dp_rank: uint32.default(0),
});

type SelectionFields = z.infer<typeof selectionFields>;

/** Choice of workers and accounts of what runs there, for callers that send the requests themselves. */
export function selectionRoutes(context: RouterContext, catalog: WorkerCatalog): RestRoute[] {
  const { placer, timed, active } = context;

  async function select({ body }: RestCall): Promise<RestAnswer> {
    const fields = checkedBody(selectionFields, body);
    const request = requestOf(context, fields, fields.selection_id ?? '');
    const { decision, costs } = placer.explain(request);
    if (decision === undefined)
      throw new StatorError('worker_unavailable', 'No worker can serve the request.', {
        facts: { workers: costs.map((cost) => `${cost.instanceId}: ${cost.excludedBecause}`).slice(0, 8) },
      });
    return { status: 200, body: selectionOf(context, catalog, fields, decision, costs) };
  }

  async function reserve(fields: SelectionFields, pin: { worker_id: bigint; dp_rank: number } | null) {
    const id = fields.selection_id ?? randomUUID();
    const request = requestOf(context, fields, id);
    if (pin !== null && request.constraints !== undefined) {
      request.constraints.instanceId = pin.worker_id;
      request.constraints.dataParallelRank = pin.dp_rank;
    }
    request.explain = true;
    const decision = await timed.route(request);
    return selectionOf(context, catalog, { ...fields, selection_id: id }, decision, decision.costs);
  }

  const known = (id: string): string => {
    if (!timed.has(id)) throw StatorError.notFound(`There is no reservation ${id}.`, { field: 'selection_id' });
    return id;
  };

  return [
    { method: 'POST', path: '/select', handle: select },
    {
      method: 'POST',
      path: '/select_and_reserve',
      handle: async ({ body }) => ({ status: 200, body: await reserve(checkedBody(selectionFields, body), null) }),
    },
    {
      method: 'POST',
      path: '/reservations',
      handle: async ({ body }) => {
        const fields = checkedBody(reservationFields, body);
        return { status: 201, body: await reserve(fields, fields) };
      },
    },
    {
      method: 'POST',
      path: '/reservations/:id/prefill_complete',
      handle: ({ params }) => {
        timed.prefillDone(known(params['id'] ?? ''));
        return { status: 200, body: {} };
      },
    },
    {
      method: 'POST',
      path: '/reservations/:id/output_block',
      handle: ({ params, body }) => {
        const { output_tokens } = checkedBody(z.strictObject({ output_tokens: uint32.min(1) }), body);
        timed.outputBlock(known(params['id'] ?? ''), output_tokens);
        return { status: 200, body: {} };
      },
    },
    {
      method: 'DELETE',
      path: '/reservations/:id',
      handle: ({ params, query }) => {
        timed.finish(known(params['id'] ?? ''), query.get('worker_failed') === 'true');
        return { status: 200, body: {} };
      },
    },
    {
      method: 'POST',
      path: '/potential_loads',
      handle: ({ body }) => {
        const { costs } = placer.explain(requestOf(context, checkedBody(selectionFields, body), ''));
        const loads = costs.map((cost) => {
          const slot = context.workers.slots.slotOf(cost.instanceId, cost.dataParallelRank);
          const totals = active.load(slot, context.nowMs());
          return {
            worker_id: cost.instanceId,
            dp_rank: cost.dataParallelRank,
            potential_prefill_tokens: totals.activePrefillTokens + cost.prefillTokens,
            potential_decode_blocks: cost.terms['decode_blocks'] ?? totals.activeBlocks,
            active_requests: totals.activeRequests,
          };
        });
        return { status: 200, body: { loads } };
      },
    },
    {
      method: 'POST',
      path: '/overlap_scores',
      handle: ({ body }) => {
        const fields = checkedBody(selectionFields, body);
        const { costs } = placer.explain(requestOf(context, fields, ''));
        const size = blockSizeOf(context, modelKey(fields));
        const scores = costs.map((cost) => ({
          worker_id: cost.instanceId,
          dp_rank: cost.dataParallelRank,
          ...tiersOf(cost, size),
        }));
        return { status: 200, body: { block_size: size, scores } };
      },
    },
  ];
}

function blockSizeOf({ workers }: RouterContext, model: string): number {
  const set = workers.model(model);
  if (set === undefined)
    throw new StatorError('model_not_found', `No worker serves the model \`${model}\`.`, { field: 'model_name' });
  return set.card.limits?.kvBlockSize ?? 0;
}

function requestOf(context: RouterContext, fields: SelectionFields, requestId: string): RouteRequest {
  const model = modelKey(fields);
  const kvBlockSize = blockSizeOf(context, model);
  const prompt = promptOf(fields, kvBlockSize);
  const { expected_output_tokens: expected, routing_constraints: constraints } = fields;
  return create(RouteRequestSchema, {
    requestId,
    model,
    promptTokens: prompt.tokens,
    sequenceHashes: prompt.sequenceHashes,
    kvBlockSize,
    constraints: {
      allowedInstanceIds: fields.allowed_worker_ids,
      requiredTaints: constraints.required_taints,
      preferredTaints: constraints.preferred_taints,
    },
    ...(expected === undefined ? {} : { expectedOutputTokens: expected }),
    priority: fields.priority_jump,
    strictPriority: fields.strict_priority,
    sessionId: fields.session_id,
    policyClass: fields.policy_class,
    sequences: 1,
  });
}

function tiersOf(blocks: Omit<WorkerCost, 'cost' | 'terms' | 'excludedBecause' | '$typeName'>, blockSize: number) {
  const gpu = blocks.deviceBlocks * blockSize;
  const cpu = gpu + blocks.hostBlocks * blockSize;
  const disk = cpu + (blocks.diskBlocks + blocks.externalBlocks) * blockSize;
  return { longest_matched: disk, gpu, cpu, disk };
}

/** Overlap in tokens; each tier's number includes the faster ones before it. */
function selectionOf(
  context: RouterContext,
  catalog: WorkerCatalog,
  fields: SelectionFields,
  decision: RouteDecision,
  costs: readonly WorkerCost[],
) {
  const blockSize = blockSizeOf(context, modelKey(fields));
  const ranks = costs.filter(({ instanceId }) => instanceId === decision.instanceId);
  const chosen = ranks.find(({ dataParallelRank }) => dataParallelRank === decision.dataParallelRank);
  const dp = ranks.filter((rank) => rank.deviceBlocks > 0 || rank === chosen);
  const tiers = chosen === undefined ? {} : tiersOf(chosen, blockSize);
  return {
    selection_id: fields.selection_id,
    model_name: fields.model_name,
    routing_group: fields.routing_group,
    worker_id: decision.instanceId,
    dp_rank: decision.dataParallelRank,
    endpoint: catalog.get(decision.instanceId)?.endpoint ?? addressOf(context, decision.instanceId),
    block_size: blockSize,
    overlap: {
      ...tiers,
      dp: Object.fromEntries(dp.map((rank) => [rank.dataParallelRank, rank.deviceBlocks * blockSize])),
    },
    effective_prefill_tokens: chosen?.prefillTokens ?? 0,
  };
}

function addressOf({ workers }: RouterContext, id: bigint): string {
  return workers.instances().find(({ instanceId }) => instanceId === id)?.address ?? '';
}
