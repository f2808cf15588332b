/** The addon native/hostmem, passed in because lib/ imports no addons. */
export interface HostMemory {
  address(buffer: Uint8Array): bigint;
  /** Takes the lifelong lock of a control file. */
  own(fd: number): boolean;
  alive(fd: number): boolean;
  /** Whether nobody writes into memory of the slot now. */
  unwritten(fd: number, slot: number): boolean;
  copy(
    controlFile: string,
    write: boolean,
    timeoutMs: number,
    buffers: readonly Uint8Array[],
    words: Float64Array,
    threads: number,
  ): { readonly done: Promise<string>; readonly cancel: () => void };
}
