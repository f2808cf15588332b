import type { Reannounce, SessionBinding } from '#gen/stator/router/v1/router_pb.ts';
import { bytesOf, maxPartBytes, maxPartReservations } from './change-batch.ts';
import type { OwnReservations } from './own-reservations.ts';
import type { PeerSessions } from './ports.ts';

export interface SnapshotPart {
  readonly placed: Reannounce[];
  readonly sessions: SessionBinding[];
}

/**
 * Everything of its own that a router has, in parts made when each is asked for. Reservations may come and go meanwhile: a
 * part has them as they are then, and what changes is told by the changes, which end in the same state in any order.
 */
export function* snapshotParts(
  own: OwnReservations,
  sessions: PeerSessions,
  instanceId: bigint,
): Generator<SnapshotPart> {
  let part: SnapshotPart = { placed: [], sessions: [] };
  let bytes = 0;
  for (const reservation of own.all()) {
    const described = own.describe(reservation);
    if (described === undefined) continue;
    bytes += bytesOf(described);
    part.placed.push(described);
    if (part.placed.length < maxPartReservations && bytes < maxPartBytes) continue;
    yield part;
    part = { placed: [], sessions: [] };
    bytes = 0;
  }
  for (const binding of sessions.bindings()) {
    if (binding.routerInstanceId !== instanceId) continue;
    part.sessions.push(binding);
    if (part.sessions.length < maxPartReservations) continue;
    yield part;
    part = { placed: [], sessions: [] };
  }
  if (part.placed.length + part.sessions.length > 0) yield part;
}
