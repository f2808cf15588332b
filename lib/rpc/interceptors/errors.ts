import type { Interceptor } from '@connectrpc/connect';
import type { Logger } from 'pino';
import { StatorError } from '#lib/errors/errors.ts';
import { toConnectError } from '../errors.ts';
import { observeStream } from '../streams.ts';

/** Server: what handlers throw leaves as a gRPC status with our detail; what is no StatorError is logged and leaves as `internal`. */
export function serverErrors(log: Logger): Interceptor {
  return (next) => async (req) => {
    const convert = (thrown: unknown): unknown => {
      const error = toConnectError(thrown);
      const foreign = error.cause instanceof StatorError && error.cause !== thrown && error.cause.code === 'internal';
      if (foreign) log.error({ err: thrown, rpc: `${req.service.typeName}/${req.method.name}` }, 'handler failed');
      return error;
    };
    try {
      const response = await next(req);
      if (!response.stream) return response;
      return { ...response, message: observeStream(response.message, (thrown) => thrown && convert(thrown)) };
    } catch (thrown) {
      throw convert(thrown);
    }
  };
}
