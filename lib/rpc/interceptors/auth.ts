import { createHash, timingSafeEqual } from 'node:crypto';
import type { HandlerContext, Interceptor } from '@connectrpc/connect';
import { Health } from '#gen/health/v1/health_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { toConnectError } from '../errors.ts';
import { type CountRpc, methodLabel } from './metrics.ts';

/** Client: sends the internal token. */
export function sendToken(token: string): Interceptor {
  const value = `Bearer ${token}`;
  return (next) => (req) => {
    req.header.set('authorization', value);
    return next(req);
  };
}

/** Server: refuses RPCs without the internal token before their body is read. Health is open, for probes. */
export function requireToken(token: string, count: CountRpc): (context: HandlerContext) => void {
  const isRight = tokenCheck(token);
  return (context) => {
    if (context.service.typeName === Health.typeName) return;
    const given = context.requestHeader.get('authorization');
    if (isRight(given)) return;
    count(methodLabel(context), 'unauthenticated');
    const message =
      given === null ? 'authorization: Bearer <internal token> is required' : 'internal token is not valid';
    throw toConnectError(new StatorError('unauthenticated', message));
  };
}

/** Whether an Authorization header carries the token. Takes the same time whatever was sent: digests have one length. */
export function tokenCheck(token: string): (header: string | null | undefined) => boolean {
  const wanted = digest(`Bearer ${token}`);
  return (header) => typeof header === 'string' && timingSafeEqual(digest(header), wanted);
}

function digest(value: string): Buffer {
  return createHash('sha256').update(value).digest();
}
