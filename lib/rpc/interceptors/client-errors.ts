import type { DescMessage } from '@bufbuild/protobuf';
import type { StreamResponse, Transport } from '@connectrpc/connect';
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
        throw fromConnectError(thrown);
      }
    },
    async stream(...call) {
      try {
        return convertStream(await transport.stream(...call));
      } catch (thrown) {
        throw fromConnectError(thrown);
      }
    },
  };
}

function convertStream<I extends DescMessage, O extends DescMessage>(
  response: StreamResponse<I, O>,
): StreamResponse<I, O> {
  return { ...response, message: observeStream(response.message, (thrown) => thrown && fromConnectError(thrown)) };
}
