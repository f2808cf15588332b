import { create } from '@bufbuild/protobuf';
import {
  RouterService,
  type SyncPeersRequest,
  type SyncPeersResponse,
  SyncPeersResponseSchema,
} from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import type { RpcTarget } from '#lib/rpc/target.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { OpenStream, PeerTarget } from './dialer.ts';
import type { PeerLink } from './link.ts';

/** Opens SyncPeers streams, each over a connection of its own that ends with it. */
export function grpcStreams(targetOf: (peer: PeerTarget) => RpcTarget, telemetry: Telemetry): OpenStream {
  return (peer, link) => {
    void dial(targetOf(peer), link, telemetry).catch((thrown: unknown) => link.end('failed', StatorError.from(thrown)));
  };
}

async function dial(target: RpcTarget, link: PeerLink, telemetry: Telemetry): Promise<void> {
  const { client, close } = createRpcClient(RouterService, target, telemetry);
  const abort = new AbortController();
  try {
    const outgoing = messagesOf(link, () => abort.abort());
    for await (const { change } of client.syncPeers(outgoing, { signal: abort.signal }))
      if (change !== undefined) link.receive(change);
    link.end('closed');
  } finally {
    close();
  }
}

/** The other side of a stream that a replica opened. */
export async function* serveLink(
  link: PeerLink,
  requests: AsyncIterable<SyncPeersRequest>,
): AsyncGenerator<SyncPeersResponse> {
  const read = async (): Promise<void> => {
    for await (const change of requests) link.receive(change);
    link.end('closed');
  };
  void read().catch((thrown: unknown) => link.end('failed', StatorError.from(thrown)));
  try {
    for await (const change of messagesOf(link)) yield create(SyncPeersResponseSchema, { change });
  } finally {
    link.end('failed');
  }
}

/** A link's messages, made when the stream takes them; ends with the link, by its error if it has one. */
async function* messagesOf(link: PeerLink, onError?: () => void): AsyncGenerator<SyncPeersRequest> {
  let failure: StatorError | undefined;
  let wake = (): void => {};
  link.attach({
    ready: () => wake(),
    close: (error) => {
      failure = error;
      if (error !== undefined) onError?.();
      wake();
    },
  });
  for (;;) {
    const message = link.next();
    if (message !== undefined) {
      yield message;
      continue;
    }
    if (link.ended) break;
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
  if (failure !== undefined) throw failure;
}
