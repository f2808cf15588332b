import type { TransferMetrics } from './metrics.ts';

/** How bytes travel: NVIDIA's NIXL, copies between processes of one host, or sockets. */
export type TransferBackend = 'nixl' | 'shm' | 'tcp';

/** Copies on the same host are the shortest way; NIXL goes over RDMA or sockets; sockets alone go everywhere. */
export const transferBackends: readonly TransferBackend[] = ['shm', 'nixl', 'tcp'];

/** Memory of this process that peers may read and write until it is revoked. */
export interface Region {
  /** What peers name it by. */
  readonly ref: RegionRef;
  readonly buffer: Uint8Array;
  /**
   * Takes the memory back. Once this has resolved no peer writes into it any more, and no transfer of a peer that reads it
   * succeeds. Rejects with `conflict` while this process itself transfers with it, and with `deadline_exceeded` where a
   * peer is stopped in the middle of writing. Idempotent.
   */
  revoke(): Promise<void>;
}

/** A peer's region, as its descriptors name it. Never reused for other memory. */
export interface RegionRef {
  readonly id: number;
  readonly bytes: number;
  /** Only back ends that need addresses use it, and check it. */
  readonly address: bigint;
}

/** One piece of a scatter list: equal numbers of bytes here and there. */
export interface Piece {
  readonly local: Region;
  readonly localOffset: number;
  readonly remote: RegionRef;
  readonly remoteOffset: number;
  readonly bytes: number;
}

export interface TransferOptions {
  /** Default: the agent's. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Sent to the peer once the data is in place. */
  readonly notification?: Uint8Array;
}

/** Another process. */
export interface Peer {
  readonly name: string;
  readonly backend: TransferBackend;
  /**
   * Copies the peer's bytes here. Rejects with `not_found` (revoked or unknown region), `deadline_exceeded`, `cancelled`,
   * `worker_unavailable` (the peer is gone) or `invalid_argument`. After a rejection the local memory holds anything.
   */
  pull(pieces: readonly Piece[], options?: TransferOptions): Promise<void>;
  /** Copies bytes of here to the peer; rejects like `pull`. After a rejection the peer's memory holds anything. */
  push(pieces: readonly Piece[], options?: TransferOptions): Promise<void>;
  /** Sends up to 64 KiB for the peer's `onNotification`. */
  notify(message: Uint8Array, options?: Omit<TransferOptions, 'notification'>): Promise<void>;
  /** Ends what is in flight with this peer and forgets it. Idempotent. */
  close(): Promise<void>;
}

export interface TransferAgent {
  readonly name: string;
  readonly backend: TransferBackend;
  /** Lends memory until its region is revoked. `readOnly`: peers cannot write, as far as the back end can tell them apart (`tcp`). */
  register(buffer: Uint8Array, options?: { readonly readOnly?: boolean }): Promise<Region>;
  /** What peers need to reach this agent, sealed. With NIXL it holds for regions registered so far. */
  metadata(): Promise<Uint8Array>;
  /** Rejects with `invalid_argument` for bytes that are no metadata, `worker_unavailable` where nobody answers. */
  connect(metadata: Uint8Array, options?: Omit<TransferOptions, 'notification'>): Promise<Peer>;
  counters(): TransferCounters;
  /** Resolves when no transfer that was given up can write into local memory any more; only with NIXL that takes time. */
  quiet(): Promise<void>;
  /** Ends everything; idempotent. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** The first four return to zero when nothing is left to do. */
export interface TransferCounters {
  /** Transfers begun here and not done. */
  readonly running: number;
  /** Transfers of peers that this process takes part in. */
  readonly serving: number;
  readonly regions: number;
  readonly peers: number;
  readonly completed: number;
  readonly failed: number;
  readonly pulledBytes: number;
  readonly pushedBytes: number;
}

export interface AgentOptions {
  /** Unique among the agents that shall meet. */
  readonly name: string;
  readonly onNotification?: (from: string, message: Uint8Array) => void;
  /** Whoever shares it can make metadata that is accepted here. Without it, metadata is only checked for damage. */
  readonly secret?: string;
  /** Default 30 s. */
  readonly timeoutMs?: number;
  /** Regions at once; default 1000. */
  readonly maxRegions?: number;
  /** Where transfers are counted; unset: nowhere but in `counters`. */
  readonly metrics?: TransferMetrics;
}

export const defaultTimeoutMs = 30_000;
export const maxNotificationBytes = 64 * 1024;
