import { create } from '@bufbuild/protobuf';
import { ReannounceSchema } from '#gen/stator/router/v1/router_pb.ts';
import type { PeerAccounts } from './peers/ports.ts';
import type { Reservations } from './reservations.ts';

/** The router's accounts as replicas use them. */
export function peerAccounts(reservations: Reservations): PeerAccounts {
  return {
    describe(owner, requestId) {
      const described = reservations.describe(owner, requestId);
      return described === undefined ? undefined : create(ReannounceSchema, described);
    },
    book: (owner, requestId, reservation) => reservations.bookOfPeer(owner, requestId, reservation),
    prefillDone: (owner, requestId) => reservations.progressOfPeer(owner, requestId, null),
    output: (owner, requestId, outputTokens) => reservations.progressOfPeer(owner, requestId, outputTokens),
    finish: (owner, requestId) => reservations.drop(owner, requestId),
  };
}
