// One-to-one mirror of what src/addon.cc exports, in its order.

export interface RunningCopy {
  /** '' or what went wrong: `gone`, `revoked`, `outside`, `late`, `canceled`, `denied`, `failed NUMBER`. */
  readonly done: Promise<string>;
  readonly cancel: () => void;
}

export interface Binding {
  allocate(bytes: number): Buffer;
  address(buffer: Uint8Array): bigint;
  own(fd: number): boolean;
  alive(fd: number): boolean;
  unwritten(fd: number, slot: number): boolean;
  copy(controlFile: string, write: boolean, timeoutMs: number, words: BigUint64Array): RunningCopy;
}
