// One-to-one mirror of what src/addon.cc exports, in its order. Every property is always present; absence is null.

declare const libraryBrand: unique symbol;
/** The loaded libnixl_capi.so. */
export type LibraryHandle = { readonly [libraryBrand]: true };

declare const agentBrand: unique symbol;
/** An agent and its thread. */
export type AgentHandle = { readonly [agentBrand]: true };

/** What NIXL calls DRAM_SEG, VRAM_SEG, BLK_SEG, OBJ_SEG and FILE_SEG. */
export type MemoryKind = 'dram' | 'vram' | 'block' | 'object' | 'file';

export interface RangeList {
  readonly memory: MemoryKind;
  /** Three words a range: address (of files and objects: offset), bytes, device (GPU, descriptor, own number). */
  readonly ranges: BigUint64Array;
  /** Only to register: one text a range. */
  readonly meta: readonly string[] | null;
}

export interface BackendInfo {
  /** 0 for a plugin that was only asked about. */
  readonly id: number;
  readonly memories: readonly (MemoryKind | 'unknown')[];
  readonly parameters: Readonly<Record<string, string>>;
}

export interface AgentOptions {
  readonly name: string;
  /** How often NIXL's progress thread wakes without being asked; never 0, which makes it spin. */
  readonly progressDelayUs: number;
  /** How often notifications are looked for; 0: never. */
  readonly notificationPollUs: number;
  readonly workers: number;
  readonly telemetry: boolean;
}

export interface Notification {
  readonly agent: string;
  readonly message: Uint8Array;
}

export interface TransferOptions {
  readonly operation: 'read' | 'write';
  /** 0: NIXL chooses. */
  readonly backend: number;
  readonly notification: Uint8Array | null;
  readonly timeoutMs: number;
}

/** NIXL's own measurement of one transfer; times in microseconds, the start since 1970. */
export interface Telemetry {
  readonly startUs: number;
  readonly postUs: number;
  readonly transferUs: number;
  readonly bytes: number;
  readonly descriptors: number;
}

export interface RunningTransfer {
  readonly id: number;
  readonly done: Promise<Telemetry | null>;
}

/** What is read of the same agent as soon as a transfer is done. Where that fails, the error's `field` is `next`. */
export interface NextRead {
  readonly local: RangeList;
  readonly remote: RangeList;
}

export interface Registered {
  readonly id: number;
  readonly failure: Error | null;
}

export interface Binding {
  libraryOpen(path: string): LibraryHandle;
  bufferAddress(buffer: Uint8Array): bigint;
  agentCreate(
    library: LibraryHandle,
    options: AgentOptions,
    onNotifications: (notifications: readonly Notification[]) => void,
  ): Promise<AgentHandle>;
  agentPlugins(agent: AgentHandle): Promise<readonly string[]>;
  agentPluginInfo(agent: AgentHandle, plugin: string): Promise<BackendInfo>;
  agentCreateBackend(
    agent: AgentHandle,
    plugin: string,
    parameters: Readonly<Record<string, string>>,
  ): Promise<BackendInfo>;
  agentRegister(
    agent: AgentHandle,
    memory: RangeList,
    backend: number,
    buffers: readonly Uint8Array[],
  ): Promise<Registered>;
  agentDeregister(agent: AgentHandle, registration: number): Promise<void>;
  agentQuery(agent: AgentHandle, memory: RangeList, backend: number): Promise<readonly boolean[]>;
  agentMetadata(agent: AgentHandle): Promise<Uint8Array>;
  agentLoadRemote(agent: AgentHandle, metadata: Uint8Array): Promise<string>;
  agentForgetRemote(agent: AgentHandle, remote: string): Promise<void>;
  agentConnect(agent: AgentHandle, remote: string): Promise<void>;
  agentNotify(agent: AgentHandle, remote: string, message: Uint8Array): Promise<void>;
  agentPrepare(agent: AgentHandle, owner: string, ranges: RangeList, backend: number): Promise<number>;
  agentReleasePrepared(agent: AgentHandle, prepared: number): Promise<void>;
  agentTransfer(
    agent: AgentHandle,
    options: TransferOptions,
    local: RangeList,
    remote: string,
    remoteRanges: RangeList,
    next: NextRead | null,
  ): RunningTransfer;
  agentTransferPrepared(
    agent: AgentHandle,
    options: TransferOptions,
    local: number,
    localIndices: Int32Array,
    remote: number,
    remoteIndices: Int32Array,
  ): RunningTransfer;
  agentCancel(agent: AgentHandle, transfer: number): void;
  agentLingering(agent: AgentHandle): Promise<number>;
  agentClose(agent: AgentHandle): Promise<void>;
}
