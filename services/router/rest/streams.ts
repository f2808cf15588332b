import { z } from 'zod';
import { StatorError } from '#lib/errors/errors.ts';
import type { RouterContext } from '../context.ts';
import type { EngineStream, EngineStreams, StreamFields } from '../kv-events/engine-streams.ts';
import { checkedBody, uint32, uint64 } from './fields.ts';
import type { RestRoute } from './http.ts';
import { modelKey, type WorkerFields } from './workers.ts';

const scope = {
  instance_id: uint64.refine((id) => id > 0n, 'expected an identifier other than 0'),
  model_name: z.string().min(1).default('default'),
  routing_group: z.string().min(1).default('default'),
  /** Taken because clients of Dynamo's indexer send it; it means nothing there either. */
  tenant_id: z.string().nullish(),
};

const registerFields = z.strictObject({
  ...scope,
  endpoint: z.string().min(1),
  block_size: uint32.min(1),
  dp_rank: uint32.nullish(),
  replay_endpoint: z.string().nullish(),
  /** Taken for the same reason: salts come with the events. */
  additional_salt: z.string().nullish(),
});

const unregisterFields = z.strictObject({ ...scope, dp_rank: uint32.nullish() });

const registerNames: StreamFields = {
  worker: 'instance_id',
  endpoint: 'endpoint',
  replayEndpoint: 'replay_endpoint',
  blockSize: 'block_size',
};

/** The index on its own: which engines' event streams it follows. */
export function streamRoutes({ blocks }: RouterContext): RestRoute[] {
  const { streams } = blocks;
  return [
    {
      method: 'POST',
      path: '/register',
      handle: ({ body }) => {
        const fields = checkedBody(registerFields, body);
        const source = {
          instanceId: fields.instance_id,
          dataParallelRank: fields.dp_rank ?? 0,
          model: modelKey(fields),
          blockSize: fields.block_size,
        };
        const { endpoint, replay_endpoint: replayEndpoint } = fields;
        const isNew = streams.follow({ source, endpoint, replayEndpoint: replayEndpoint ?? '' }, registerNames);
        return { status: isNew ? 201 : 200, body: { status: 'ok' } };
      },
    },
    {
      method: 'POST',
      path: '/unregister',
      handle: ({ body }) => {
        const fields = checkedBody(unregisterFields, body);
        const { instance_id: id, dp_rank: rank } = fields;
        if (streams.unfollow(modelKey(fields), id, rank ?? undefined) === 0)
          throw StatorError.notFound(`No events of ${id} are followed for the model \`${modelKey(fields)}\`.`, {
            field: 'instance_id',
          });
        return { status: 200, body: { status: 'ok' } };
      },
    },
  ];
}

/** Streams as answers show them, by their workers. */
export function shownStreams(streams: EngineStreams) {
  const shown = new Map<bigint, object[]>();
  for (const { source, endpoint, replayEndpoint, connected } of streams.all()) {
    const { instanceId, model, dataParallelRank, blockSize } = source;
    const stream = { model, dp_rank: dataParallelRank, block_size: blockSize, endpoint, connected };
    const list = shown.get(instanceId) ?? [];
    list.push(replayEndpoint === '' ? stream : { ...stream, replay_endpoint: replayEndpoint });
    shown.set(instanceId, list);
  }
  return shown;
}

/** Follows streams in place of others; those that are among both go on. */
export function replaceStreams(
  streams: EngineStreams,
  before: readonly EngineStream[],
  wanted: readonly EngineStream[],
): void {
  for (const old of before) {
    const { model, instanceId, dataParallelRank } = old.source;
    if (!wanted.some((stream) => isSame(stream, old))) streams.unfollow(model, instanceId, dataParallelRank);
  }
  for (const stream of wanted) {
    const endpoint = `kv_events_endpoints.${stream.source.dataParallelRank}`;
    streams.follow(stream, { ...registerNames, worker: 'worker_id', endpoint });
  }
}

function isSame(a: EngineStream, b: EngineStream): boolean {
  return (
    a.endpoint === b.endpoint &&
    a.replayEndpoint === b.replayEndpoint &&
    a.source.model === b.source.model &&
    a.source.blockSize === b.source.blockSize &&
    a.source.dataParallelRank === b.source.dataParallelRank
  );
}

/** What a worker's description names. The replay endpoint is the first rank's; engines add the rank to the port. */
export function streamsOf(worker: WorkerFields): EngineStream[] {
  const { data_parallel_start_rank: first, replay_endpoint: replayEndpoint } = worker;
  return Object.entries(worker.kv_events_endpoints).map(([text, endpoint]) => {
    const dataParallelRank = Number(text);
    const field = `kv_events_endpoints.${text}`;
    if (dataParallelRank < first || dataParallelRank >= first + worker.data_parallel_size)
      throw StatorError.invalid(field, `\`${field}\`: the worker has no data parallel rank ${text}`);
    const source = {
      instanceId: worker.worker_id,
      dataParallelRank,
      model: modelKey(worker),
      blockSize: worker.block_size,
    };
    return { source, endpoint, replayEndpoint: replayOfRank(replayEndpoint, dataParallelRank - first) };
  });
}

function replayOfRank(endpoint: string, offset: number): string {
  if (endpoint === '' || offset === 0) return endpoint;
  const port = /^(tcp:\/\/.+:)(\d{1,5})$/.exec(endpoint);
  if (port === null)
    throw StatorError.invalid('replay_endpoint', '`replay_endpoint`: several ranks need a port to count from');
  return `${port[1]}${Number(port[2]) + offset}`;
}
