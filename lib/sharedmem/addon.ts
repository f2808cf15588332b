/** Work that the addon does on threads of its own. */
export interface Running<T> {
  readonly done: Promise<T>;
  readonly cancel: () => void;
  readonly progress: () => number;
}

/** The part of native/hostmem that maps and moves memory, passed in because lib/ imports no addons. */
export interface MemoryAddon {
  allocate(bytes: number): Buffer;
  openShared(
    path: string,
    bytes: number,
    create: boolean,
  ): Running<{
    readonly problem: string;
    readonly buffer: Buffer | null;
    readonly created: boolean;
    readonly pageBytes: number;
  }>;
  release(buffer: Uint8Array): Promise<boolean>;
  hold(buffer: Uint8Array): () => void;
  populate(buffer: Uint8Array, threads: number): Running<number>;
  bulk(
    kind: number,
    buffers: readonly Uint8Array[],
    words: Float64Array,
    threads: number,
  ): Running<BigUint64Array | null>;
}
