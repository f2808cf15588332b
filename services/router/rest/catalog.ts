import { z } from 'zod';
import { StatorError } from '#lib/errors/errors.ts';
import type { RouterContext } from '../context.ts';
import { checkedWorker } from '../handlers/upsert-worker.ts';
import { checkedBody, idOf } from './fields.ts';
import type { RestRoute } from './http.ts';
import { instanceOf, modelKey, type WorkerCatalog, type WorkerFields, workerFields } from './workers.ts';

/** Follows and forgets what a registered worker publishes of its cache. */
export interface CatalogEvents {
  follow(worker: WorkerFields): void;
  unfollow(worker: WorkerFields): void;
}

/** Workers that callers register, read and take back. */
export function catalogRoutes(context: RouterContext, catalog: WorkerCatalog, events: CatalogEvents): RestRoute[] {
  const { workers } = context;

  const put = (worker: WorkerFields): void => {
    catalog.refuseBeyondLimit(worker.worker_id);
    workers.upsert(checkedWorker(instanceOf(worker)));
    const before = catalog.get(worker.worker_id);
    if (before !== undefined) events.unfollow(before);
    catalog.set(worker);
    events.follow(worker);
  };
  const known = (text: string): WorkerFields => {
    const worker = catalog.get(idOf(text, 'worker_id'));
    if (worker === undefined) throw StatorError.notFound(`No worker ${text} was registered.`, { field: 'worker_id' });
    return worker;
  };

  return [
    {
      method: 'POST',
      path: '/workers',
      handle: ({ body }) => {
        const worker = checkedBody(workerFields, body);
        put(worker);
        return { status: 201, body: worker };
      },
    },
    {
      method: 'PATCH',
      path: '/workers/:id',
      handle: ({ params, body }) => {
        const before = known(params['id'] ?? '');
        const change = checkedBody(z.looseObject({}), body);
        const worker = checkedBody(workerFields, { ...before, ...change, worker_id: before.worker_id });
        put(worker);
        return { status: 200, body: worker };
      },
    },
    {
      method: 'DELETE',
      path: '/workers/:id',
      handle: ({ params }) => {
        const worker = known(params['id'] ?? '');
        events.unfollow(worker);
        catalog.delete(worker.worker_id);
        workers.forget(worker.worker_id);
        return { status: 200, body: {} };
      },
    },
    {
      method: 'GET',
      path: '/workers',
      handle: () => {
        const found = workers.instances().map((instance) => ({
          worker_id: instance.instanceId,
          endpoint: catalog.get(instance.instanceId)?.endpoint ?? instance.address,
          registered: catalog.get(instance.instanceId) === undefined ? 'discovery' : 'call',
          models: instance.cards.map((card) => ({
            model_name: card.name,
            block_size: card.limits?.kvBlockSize ?? 0,
            data_parallel_start_rank: card.parallelism?.dataStartRank ?? 0,
            data_parallel_size: Math.max(1, card.parallelism?.data ?? 1),
          })),
        }));
        return { status: 200, body: { workers: found } };
      },
    },
    {
      method: 'GET',
      path: '/ready',
      handle: () => {
        const schedulable = workers.models().filter((set) => workers.isRoutable(set)).length;
        const body = { ready: schedulable > 0, models: schedulable, workers: workers.size };
        return { status: schedulable > 0 ? 200 : 503, body };
      },
    },
    {
      method: 'GET',
      path: '/loads',
      handle: ({ query }) => {
        const name = query.get('model_name');
        const group = query.get('routing_group') ?? 'default';
        const wanted = name === null ? undefined : modelKey({ model_name: name, routing_group: group });
        return { status: 200, body: loadsOf(context, wanted) };
      },
    },
  ];
}

function loadsOf({ workers, active, admission, nowMs }: RouterContext, model: string | undefined) {
  const loads = workers
    .instances()
    .filter(({ cards }) => model === undefined || cards.some(({ name }) => name === model))
    .flatMap((instance) =>
      workers.rankNumbersOf(instance).map((rank) => {
        const load = active.load(workers.slots.slotOf(instance.instanceId, rank), nowMs());
        return {
          worker_id: instance.instanceId,
          dp_rank: rank,
          active_prefill_tokens: load.activePrefillTokens,
          active_decode_blocks: load.activeBlocks,
          active_requests: load.activeRequests,
        };
      }),
    );
  return { loads, pending_count: admission.size, pending_isl_tokens: admission.promptTokens };
}
