import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { type KvIndexService, UnfollowResponseSchema } from '#gen/stator/router/v1/router_pb.ts';
import type { RouterContext } from '../context.ts';

export function unfollow({ blocks }: RouterContext): Partial<ServiceImpl<typeof KvIndexService>> {
  return {
    unfollow: ({ model, instanceId, dataParallelRank }) =>
      create(UnfollowResponseSchema, { found: blocks.streams.unfollow(model, instanceId, dataParallelRank) > 0 }),
  };
}
