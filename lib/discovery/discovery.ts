import type { Instance, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';

/**
 * Why an instance went down. Only `withdrawn` is the owner's own word; the other two are evidence, and a live connection
 * to the instance is better evidence.
 * - `withdrawn`: the owner took its registration back (or an operator deleted it).
 * - `expired`: the back end dropped it, because its owner did not renew its lease or its heartbeats stopped.
 * - `stale`: it vanished while this observer was cut off from the back end, so that the cause is not known.
 */
export type DownReason = 'withdrawn' | 'expired' | 'stale';

/** A registered instance; it stays registered, through losses of its lease too, until `withdraw` or `Discovery.close`. */
export interface Registration {
  /** Replaces what is registered; id and kind must stay. Resolves when the back end has it. */
  update(instance: Instance): Promise<void>;
  /** Takes the registration back. Idempotent. */
  withdraw(): Promise<void>;
}

/** Called in the order of the changes, never during `watch` itself. What a callback throws is logged and goes no further. */
export interface InstanceListener {
  onUp(instance: Instance): void;
  onChange(instance: Instance, before: Instance): void;
  onDown(instance: Instance, reason: DownReason): void;
}

export interface Watch {
  /** Resolves once the first snapshot was reported; rejects with `cancelled` when closed before that. */
  readonly synced: Promise<void>;
  /** The instances that are up, as the callbacks have reported them. */
  instances(): ReadonlyMap<bigint, Instance>;
  close(): void;
}

/** One process's view of one namespace of a discovery back end. Instances handed out must not be modified. */
export interface Discovery {
  /** Whether the back end answers. While it does not, and before it first did, the view may be old. */
  readonly connected: boolean;
  /**
   * Registers an instance and keeps it registered. An empty `namespace` is filled in.
   * Throws StatorError `invalid_argument` for an incomplete instance, `conflict` when this process registered the id already.
   */
  register(instance: Instance): Promise<Registration>;
  /** Follows the instances of one kind, or of all. */
  watch(kind: ServiceKind | undefined, listener?: Partial<InstanceListener>): Watch;
  /** Withdraws every registration and closes every watch. Idempotent. */
  close(): Promise<void>;
}
