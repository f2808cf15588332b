import type { ServiceImpl } from '@connectrpc/connect';
import type { RouterService } from '#gen/stator/router/v1/router_pb.ts';
import { serveLink } from '../peers/grpc.ts';
import type { PeerSync } from '../peers/peer-sync.ts';

/** Another replica's stream. */
export function syncPeers({ peers }: { readonly peers: PeerSync }): Partial<ServiceImpl<typeof RouterService>> {
  return { syncPeers: (requests) => serveLink(peers.accept(), requests) };
}
