import { randomUUID } from 'node:crypto';
import type { ServiceImpl } from '@connectrpc/connect';
import type { RouterService } from '#gen/stator/router/v1/router_pb.ts';
import type { RouterContext } from '../context.ts';
import { serveSession } from '../session.ts';

export function session(context: RouterContext): Partial<ServiceImpl<typeof RouterService>> {
  return { session: (requests) => serveSession(context, randomUUID(), requests) };
}
