import { create } from '@bufbuild/protobuf';
import { z } from 'zod';
import { unpackHashes } from '#core/tokens/packed-hashes.ts';
import { MatchRequestSchema, type MatchResponse } from '#gen/stator/router/v1/router_pb.ts';
import type { RouterContext } from '../context.ts';
import { dumpIndex } from '../handlers/dump.ts';
import { matchBlocks, servedBlockSize } from '../handlers/match.ts';
import { checkedBody } from './fields.ts';
import type { RestAnswer, RestRoute } from './http.ts';
import { promptFields, promptOf } from './prompt.ts';
import { modelKey } from './workers.ts';

const queryFields = z.strictObject({
  model_name: z.string().min(1).default('default'),
  routing_group: z.string().min(1).default('default'),
  tenant_id: z.string().nullish(),
  ...promptFields,
});

/** The index on its own: who has what of a prompt, and all of it. */
export function indexRoutes(context: RouterContext): RestRoute[] {
  const query = (body: unknown): RestAnswer => {
    const fields = checkedBody(queryFields, body);
    const model = modelKey(fields);
    const { sequenceHashes } = promptOf(fields, servedBlockSize(context, model));
    return { status: 200, body: scoresOf(matchBlocks(context, create(MatchRequestSchema, { model, sequenceHashes }))) };
  };
  return [
    { method: 'POST', path: '/query', handle: ({ body }) => query(body) },
    { method: 'POST', path: '/query_by_hash', handle: ({ body }) => query(body) },
    {
      method: 'GET',
      path: '/dump',
      handle: async ({ query: parameters }) => {
        const events = [];
        for await (const { events: part } of dumpIndex(context, modelOf(parameters))) {
          for (const { change, dataParallelRank } of part?.events ?? []) {
            if (part === undefined || change.case !== 'stored') continue;
            const { parentSequenceHash: parent, sequenceHashes, tier } = change.value;
            const hashes = [...unpackHashes(sequenceHashes)];
            const { instanceId, model } = part;
            events.push({
              model,
              worker_id: instanceId,
              dp_rank: dataParallelRank,
              tier,
              parent,
              sequence_hashes: hashes,
            });
          }
        }
        return { status: 200, body: { events } };
      },
    },
  ];
}

/** Empty: all models. */
function modelOf(parameters: URLSearchParams): string {
  const name = parameters.get('model_name');
  return name === null
    ? ''
    : modelKey({ model_name: name, routing_group: parameters.get('routing_group') ?? 'default' });
}

/** Matched tokens by worker and rank; each tier's number includes the faster ones before it. */
function scoresOf({ workers, kvBlockSize, promptBlocks, blockHits }: MatchResponse) {
  const scores: Record<string, Record<string, number>> = {};
  const instances: Record<
    string,
    { longest_matched: number; gpu: number; cpu: number; disk: number; dp: Record<string, number> }
  > = {};
  for (const { instanceId, dataParallelRank, deviceBlocks, hostBlocks, diskBlocks, externalBlocks } of workers) {
    const id = instanceId.toString();
    const gpu = deviceBlocks * kvBlockSize;
    const cpu = gpu + hostBlocks * kvBlockSize;
    const disk = cpu + (diskBlocks + externalBlocks) * kvBlockSize;
    scores[id] = { ...scores[id], [dataParallelRank]: disk };
    const before = instances[id] ?? { longest_matched: 0, gpu: 0, cpu: 0, disk: 0, dp: {} };
    instances[id] = {
      longest_matched: Math.max(before.longest_matched, disk),
      gpu: Math.max(before.gpu, gpu),
      cpu: Math.max(before.cpu, cpu),
      disk: Math.max(before.disk, disk),
      dp: { ...before.dp, [dataParallelRank]: gpu },
    };
  }
  return { block_size: kvBlockSize, prompt_blocks: promptBlocks, scores, frequencies: blockHits, instances };
}
