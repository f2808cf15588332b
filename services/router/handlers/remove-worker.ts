import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { RemoveWorkerResponseSchema, type RouterService } from '#gen/stator/router/v1/router_pb.ts';
import type { RouterContext } from '../context.ts';

export function removeWorker({ workers }: RouterContext): Partial<ServiceImpl<typeof RouterService>> {
  return {
    removeWorker: ({ instanceId }) => create(RemoveWorkerResponseSchema, { found: workers.forget(instanceId) }),
  };
}
