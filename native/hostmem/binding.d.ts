// One-to-one mirror of what src/addon.cc exports, in its order.

/** Work on threads of the addon's own. */
export interface Running<T> {
  readonly done: Promise<T>;
  /** Ends it between two pieces of at most 64 MiB. */
  readonly cancel: () => void;
  /** Bytes done. */
  readonly progress: () => number;
}

export interface OpenedFile {
  /** '' or why not: `missing`, `symlink`, `foreign`, `mode`, `kind`, `size BYTES`, `full`, `canceled`, `failed STEP ERRNO`. */
  readonly problem: string;
  readonly buffer: Buffer | null;
  readonly created: boolean;
  readonly pageBytes: number;
}

export interface Binding {
  allocate(bytes: number): Buffer;
  address(buffer: Uint8Array): bigint;
  own(fd: number): boolean;
  alive(fd: number): boolean;
  unwritten(fd: number, slot: number): boolean;
  /** Null where it is gone. */
  openLender(controlFile: string): object | null;
  /** Copies that run go on. */
  closeLender(lender: object): void;
  /**
   * Resolves with '' or what went wrong: `gone`, `revoked`, `outside`, `late`, `canceled`, `denied`, `failed NUMBER`. Up to
   * a megabyte is copied at once: then the result itself.
   */
  copy(
    lender: object,
    write: boolean,
    timeoutMs: number,
    buffers: readonly Uint8Array[],
    words: Float64Array,
    threads: number,
  ): Running<string> | string;
  openShared(path: string, bytes: number, create: boolean): Running<OpenedFile>;
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
