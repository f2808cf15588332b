import type { DescMessage } from '@bufbuild/protobuf';
import { Code, ConnectError, type StreamResponse, type Transport } from '@connectrpc/connect';
import { ErrorDetailSchema } from '#gen/stator/errors/v1/errors_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { fromConnectError } from '../errors.ts';
import { observeStream } from '../streams.ts';

/**
 * Client: every failure is a StatorError with the code that the server threw. A transport around a transport, because connect
 * turns whatever interceptors throw into a ConnectError again.
 */
export function clientErrors(transport: Transport): Transport {
  return {
    async unary(...call) {
      try {
        return await transport.unary(...call);
      } catch (thrown) {
        throw errorOf(thrown, call[1]);
      }
    },
    async stream(...call) {
      try {
        return convertStream(await transport.stream(...call), call[1]);
      } catch (thrown) {
        throw errorOf(thrown, call[1]);
      }
    },
  };
}

function convertStream<I extends DescMessage, O extends DescMessage>(
  response: StreamResponse<I, O>,
  signal: AbortSignal | undefined,
): StreamResponse<I, O> {
  return { ...response, message: observeStream(response.message, (thrown) => thrown && errorOf(thrown, signal)) };
}

/** connect-node calls it cancelled, too, when a connection is closed under a call that its caller still wants. */
function errorOf(thrown: unknown, signal: AbortSignal | undefined): StatorError {
  const error = ConnectError.from(thrown);
  const isTold = error.findDetails(ErrorDetailSchema).length > 0;
  if (error.code !== Code.Canceled || isTold || signal?.aborted === true) return fromConnectError(thrown);
  return new StatorError('worker_unavailable', `the connection was closed: ${error.rawMessage}`, { cause: thrown });
}
