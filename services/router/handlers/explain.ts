import type { ServiceImpl } from '@connectrpc/connect';
import type { RouterService } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { RouterContext } from '../context.ts';

export function explain({ reservations }: RouterContext): Partial<ServiceImpl<typeof RouterService>> {
  return {
    explain({ route: request }) {
      if (request === undefined) throw StatorError.invalid('route', 'The request to explain is missing.');
      return reservations.explain(request);
    },
  };
}
