import type { AffinityUse } from '#core/routing/session-affinity.ts';
import type { RouteRequest } from '#gen/stator/router/v1/router_pb.ts';

/** Monotonic milliseconds. */
export interface RequestTimes {
  readonly arrivedMs: number;
  firstTokenMs: number | null;
  /** When output was last told of. */
  lastOutputMs: number | null;
}

/** A placed request, as far as its accounts do not tell. */
export interface Held {
  readonly request: RouteRequest;
  readonly instanceId: bigint;
  readonly dataParallelRank: number;
  readonly overlapTokens: number;
  /** Its part in its session's binding. */
  readonly use: AffinityUse | null;
  /** What is observed of its way; null: it began before this router knew of it. */
  readonly times: RequestTimes | null;
}

/** Placed requests by owner and identifier. */
export class HeldRequests {
  readonly #owners = new Map<string, Map<string, Held>>();

  get(owner: string, requestId: string): Held | undefined {
    return this.#owners.get(owner)?.get(requestId);
  }

  set(owner: string, requestId: string, held: Held): void {
    const ofOwner = this.#owners.get(owner) ?? new Map<string, Held>();
    this.#owners.set(owner, ofOwner.set(requestId, held));
  }

  /** Takes a request out. */
  take(owner: string, requestId: string): Held | undefined {
    const ofOwner = this.#owners.get(owner);
    const held = ofOwner?.get(requestId);
    if (ofOwner === undefined || held === undefined) return undefined;
    ofOwner.delete(requestId);
    if (ofOwner.size === 0) this.#owners.delete(owner);
    return held;
  }

  /** Takes out all of an owner. */
  takeOwner(owner: string): Held[] {
    const held = [...(this.#owners.get(owner)?.values() ?? [])];
    this.#owners.delete(owner);
    return held;
  }

  /** Where requests of a worker are. */
  *onWorker(instanceId: bigint): Generator<{ readonly owner: string; readonly requestId: string }> {
    for (const [owner, ofOwner] of this.#owners)
      for (const [requestId, held] of ofOwner) if (held.instanceId === instanceId) yield { owner, requestId };
  }
}
