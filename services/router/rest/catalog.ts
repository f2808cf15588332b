import { z } from 'zod';
import { StatorError } from '#lib/errors/errors.ts';
import type { RouterContext } from '../context.ts';
import { checkedWorker } from '../handlers/upsert-worker.ts';
import { checkedBody, idOf } from './fields.ts';
import type { RestRoute } from './http.ts';
import { replaceStreams, shownStreams, streamsOf } from './streams.ts';
import { instanceOf, modelKey, type WorkerCatalog, type WorkerFields, workerFields } from './workers.ts';

/** Workers that callers register, read and take back. */
export function catalogRoutes(context: RouterContext, catalog: WorkerCatalog): RestRoute[] {
  const { workers, blocks } = context;

  const put = (worker: WorkerFields): void => {
    const wanted = streamsOf(worker);
    const before = catalog.get(worker.worker_id);
    const streamsBefore = before === undefined ? [] : streamsOf(before);
    workers.upsert(checkedWorker(instanceOf(worker)));
    try {
      replaceStreams(blocks.streams, streamsBefore, wanted);
    } catch (thrown) {
      if (before === undefined) {
        workers.forget(worker.worker_id);
      } else {
        workers.upsert(instanceOf(before));
        replaceStreams(blocks.streams, wanted, streamsBefore);
      }
      throw thrown;
    }
    catalog.set(worker);
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
        catalog.delete(worker.worker_id);
        workers.forget(worker.worker_id);
        return { status: 200, body: {} };
      },
    },
    {
      method: 'GET',
      path: '/workers',
      handle: () => {
        const streams = shownStreams(blocks.streams);
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
          kv_events: streams.get(instance.instanceId) ?? [],
        }));
        const others = [...streams.keys()].filter((id) => !workers.has(id));
        const followed = others.map((id) => ({
          ...{ worker_id: id, endpoint: '', registered: 'stream', models: [] },
          kv_events: streams.get(id) ?? [],
        }));
        return { status: 200, body: { workers: [...found, ...followed] } };
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
