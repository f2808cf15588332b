import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { createHandlerContext } from '@connectrpc/connect';
import { Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import {
  type SessionRequest,
  SessionRequestSchema,
  type SessionResponse,
  SessionResponseSchema,
} from '#gen/stator/engine/v1/session_pb.ts';
import type { SessionServer } from '#lib/rpc/session/server.ts';

/** The same handler behind a grpc-js server. Returns its address. */
export async function startGrpcJsServer(handle: SessionServer['handle']): Promise<string> {
  const method = EngineService.method.session;
  const server = new Server({ 'grpc-node.flow_control_window': 1024 * 1024 });
  server.addService(
    {
      session: {
        path: `/${EngineService.typeName}/${method.name}`,
        requestStream: true,
        responseStream: true,
        requestSerialize: (request: SessionRequest) => Buffer.from(toBinary(SessionRequestSchema, request)),
        requestDeserialize: (bytes: Buffer) => fromBinary(SessionRequestSchema, bytes),
        responseSerialize: (response: SessionResponse) => asBuffer(toBinary(SessionResponseSchema, response)),
        responseDeserialize: (bytes: Buffer) => fromBinary(SessionResponseSchema, bytes),
      },
    },
    { session: (call: ServerDuplexStream<SessionRequest, SessionResponse>) => void serve(call, handle) },
  );
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
    error === null ? resolve(port) : reject(error),
  );
  return `127.0.0.1:${await promise}`;
}

async function serve(
  call: ServerDuplexStream<SessionRequest, SessionResponse>,
  handle: SessionServer['handle'],
): Promise<void> {
  const context = createHandlerContext({
    service: EngineService,
    method: EngineService.method.session,
    protocolName: 'grpc',
    requestMethod: 'POST',
    url: 'http://localhost',
  });
  call.on('cancelled', () => context.abort());
  for await (const response of handle(call, context)) call.write(create(SessionResponseSchema, response));
  call.end();
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
