import { toBinary } from '@bufbuild/protobuf';
import { findTrailerError } from '@connectrpc/connect/protocol-grpc';
import {
  type ChannelOptions,
  Client,
  type ClientDuplexStream,
  credentials,
  Metadata,
  type ServiceError,
  type StatusObject,
  status,
} from '@grpc/grpc-js';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { type SessionRequest, SessionRequestSchema } from '#gen/stator/engine/v1/session_pb.ts';
import { ErrorDetailSchema } from '#gen/stator/errors/v1/errors_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { formatAddress, parseAddress } from '../address.ts';
import { fromConnectError } from '../errors.ts';
import type { RpcTarget } from '../target.ts';
import { readTlsMaterial, type TlsFiles } from '../tls.ts';
import type { LinkEvents, OpenLink, SessionLink } from './link.ts';

export interface GrpcLinkOptions {
  readonly target: RpcTarget;
  /** Milliseconds of silence after which the connection is probed. */
  readonly keepaliveMs: number;
  /** Milliseconds that an answer to the probe may take. */
  readonly keepaliveTimeoutMs: number;
}

type SessionCall = ClientDuplexStream<SessionRequest, Uint8Array>;

const METHOD = `/${EngineService.typeName}/${EngineService.method.session.name}`;
/** How long a session that ends in good order may take before its connection is dropped. */
const END_TIMEOUT_MS = 2000;
/** How grpc-js words a channel whose address refused the connection; it passes the system's error on in no other form. */
const REFUSED = /^No connection established\. Last error: Error: connect ECONNREFUSED\b/;

/** Connections of a session by grpc-js, one channel each, so that no connection outlives its session (docs/decisions/0002). */
export function grpcLink(options: GrpcLinkOptions): OpenLink {
  return (events) => {
    try {
      return open(options, events);
    } catch (thrown) {
      queueMicrotask(() => events.onEnd(StatorError.from(thrown), false));
      return { send: () => {}, end: () => {}, destroy: () => {} };
    }
  };
}

function open(options: GrpcLinkOptions, events: LinkEvents): SessionLink {
  const { target } = options;
  const { host, port } = parseAddress(target.address, 'address');
  const secure = target.tls !== undefined;
  const client = new Client(
    formatAddress(host, port),
    secure ? tlsCredentials(target.tls) : credentials.createInsecure(),
    channelOptions(options),
  );
  const metadata = new Metadata();
  if (target.internalToken !== undefined) metadata.set('authorization', `Bearer ${target.internalToken}`);
  const call: SessionCall = client.makeBidiStreamRequest(METHOD, serialize, deserialize, metadata);
  call.on('data', (bytes: Uint8Array) => events.onMessage(bytes));
  // Every error comes as a status too; without a listener it would be thrown.
  call.on('error', () => {});
  call.on('status', (ended: StatusObject | ServiceError) => {
    client.close();
    events.onEnd(...endOf(ended, target.address));
  });
  return {
    send: (request) => void call.write(request),
    end: () => endInOrder(call),
    destroy: () => call.cancel(),
  };
}

function channelOptions(options: GrpcLinkOptions): ChannelOptions {
  return {
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_retries': 0,
    'grpc.service_config_disable_resolution': 1,
    'grpc.enable_http_proxy': 0,
    'grpc.keepalive_time_ms': options.keepaliveMs,
    'grpc.keepalive_timeout_ms': options.keepaliveTimeoutMs,
    'grpc.max_receive_message_length': -1,
    'grpc-node.flow_control_window': 1024 * 1024,
    ...(options.target.tls?.serverName !== undefined && {
      'grpc.ssl_target_name_override': options.target.tls.serverName,
      'grpc.default_authority': options.target.tls.serverName,
    }),
  };
}

function tlsCredentials(files: TlsFiles = {}): ReturnType<typeof credentials.createSsl> {
  const { ca, key, cert } = readTlsMaterial(files);
  return credentials.createSsl(asBuffer(ca), asBuffer(key), asBuffer(cert));
}

function asBuffer(value: unknown): Buffer | null {
  return Buffer.isBuffer(value) ? value : null;
}

function endInOrder(call: SessionCall): void {
  call.end();
  setTimeout(() => call.cancel(), END_TIMEOUT_MS).unref();
}

/** Why a call ended, and whether its session is over with it. */
function endOf(ended: StatusObject, address: string): [StatorError, boolean] {
  if (ended.code === status.OK) return [new StatorError('worker_unavailable', 'worker ended the session'), true];
  if (ended.code === status.UNAVAILABLE && REFUSED.test(ended.details))
    return [new StatorError('worker_unavailable', `nothing listens at ${address} (ECONNREFUSED)`), true];
  const trailer = new Headers({ 'grpc-status': String(ended.code), 'grpc-message': encodeURIComponent(ended.details) });
  const [encoded] = ended.metadata.get('grpc-status-details-bin');
  if (Buffer.isBuffer(encoded)) trailer.set('grpc-status-details-bin', encoded.toString('base64'));
  const error = findTrailerError(trailer);
  // Only our own services send the detail: without it the transport speaks, and the session may still be resumed.
  return [fromConnectError(error), (error?.findDetails(ErrorDetailSchema).length ?? 0) > 0];
}

function serialize(request: SessionRequest): Buffer {
  const bytes = toBinary(SessionRequestSchema, request);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The bytes themselves: frames are read in place, by FrameReader. */
function deserialize(bytes: Buffer): Uint8Array {
  return bytes;
}
