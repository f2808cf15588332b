import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { ListWorkersResponseSchema, type RouterService } from '#gen/stator/router/v1/router_pb.ts';
import type { RouterContext } from '../context.ts';

export function listWorkers({ workers }: RouterContext): Partial<ServiceImpl<typeof RouterService>> {
  return {
    listWorkers: ({ model }) =>
      create(ListWorkersResponseSchema, {
        workers: workers.instances().filter(({ cards }) => model === '' || cards.some(({ name }) => name === model)),
      }),
  };
}
