import { create } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { RouteResponseSchema, type RouterService } from '#gen/stator/router/v1/router_pb.ts';
import type { RouterContext } from '../context.ts';

export function route({ timed }: RouterContext): Partial<ServiceImpl<typeof RouterService>> {
  return {
    route: async (request, { signal }) =>
      create(RouteResponseSchema, { decision: await timed.route(request, signal), reservationTtlMs: timed.ttlMs }),
  };
}
