/** A process that lends memory, as the addon knows it. */
export type Lender = object;

/** The addon native/hostmem, passed in because lib/ imports no addons. */
export interface HostMemory {
  address(buffer: Uint8Array): bigint;
  /** Takes the lifelong lock of a control file. */
  own(fd: number): boolean;
  alive(fd: number): boolean;
  /** Whether nobody writes into memory of the slot now. */
  unwritten(fd: number, slot: number): boolean;
  /** Null where it is gone. */
  openLender(controlFile: string): Lender | null;
  closeLender(lender: Lender): void;
  /** A string where it is done already. */
  copy(
    lender: Lender,
    write: boolean,
    timeoutMs: number,
    buffers: readonly Uint8Array[],
    words: Float64Array,
    threads: number,
  ): string | { readonly done: Promise<string>; readonly cancel: () => void };
}
