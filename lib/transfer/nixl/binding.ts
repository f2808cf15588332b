/** What lib/ needs of native/nixl, passed in because lib/ imports no addons. */
export interface NixlBinding {
  openAgent(options: {
    readonly name: string;
    readonly onNotification: (notification: { readonly agent: string; readonly message: Uint8Array }) => void;
  }): Promise<NixlAgentBinding>;
  addressOf(buffer: Uint8Array): bigint;
  dramRanges(ranges: readonly { readonly address: bigint; readonly bytes: number }[]): NixlRanges;
}

export interface NixlRanges {
  readonly memory: 'dram' | 'vram' | 'block' | 'object' | 'file';
  readonly ranges: BigUint64Array;
  readonly meta: readonly string[] | null;
}

export interface NixlAgentBinding {
  createBackend(plugin: string, parameters?: Readonly<Record<string, string>>): Promise<unknown>;
  registerBuffers(buffers: readonly Uint8Array[]): Promise<number>;
  deregister(registration: number): Promise<void>;
  metadata(): Promise<Uint8Array>;
  loadRemote(metadata: Uint8Array): Promise<string>;
  forgetRemote(name: string): Promise<void>;
  notify(remote: string, message: Uint8Array): Promise<void>;
  transfer(
    options: {
      readonly operation: 'read' | 'write';
      readonly timeoutMs: number;
      readonly signal: AbortSignal;
    },
    local: NixlRanges,
    remote: string,
    remoteRanges: NixlRanges,
    /** Read as soon as that is done. Where it fails, the error's `field` is `next`. */
    next: { readonly local: NixlRanges; readonly remote: NixlRanges } | null,
  ): Promise<unknown>;
  lingering(): Promise<number>;
  close(): Promise<void>;
}
