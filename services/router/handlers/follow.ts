import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { FollowResponseSchema, type KvIndexService } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { RouterContext } from '../context.ts';

const fields = {
  worker: 'instance_id',
  endpoint: 'zmq_endpoint',
  replayEndpoint: 'zmq_replay_endpoint',
  blockSize: 'kv_block_size',
};

export function follow({ blocks }: RouterContext): Partial<ServiceImpl<typeof KvIndexService>> {
  return {
    follow({ model, instanceId, dataParallelRank, kvBlockSize, zmqEndpoint, zmqReplayEndpoint }) {
      if (model === '') throw StatorError.invalid('model', 'The model is not named.');
      if (instanceId === 0n) throw StatorError.invalid('instance_id', 'The worker is not named.');
      const blockSize = kvBlockSize > 0 ? kvBlockSize : (blocks.blockSizeOf(model) ?? 0);
      if (blockSize === 0) throw StatorError.invalid('kv_block_size', 'How many tokens a block has is not known.');
      const source = { model, instanceId, dataParallelRank, blockSize };
      blocks.streams.follow({ source, endpoint: zmqEndpoint, replayEndpoint: zmqReplayEndpoint }, fields);
      return create(FollowResponseSchema, {});
    },
  };
}
