import { binding } from './addon.ts';
import type {
  AgentHandle,
  BackendInfo,
  LibraryHandle,
  NextRead,
  Notification,
  RangeList,
  RunningTransfer,
  Telemetry,
} from './binding.d.ts';
import { addressOf, dramRanges } from './ranges.ts';

const DEFAULT_PROGRESS_DELAY_US = 100_000;
const DEFAULT_NOTIFICATION_POLL_US = 1000;
const DEFAULT_TIMEOUT_MS = 30_000;

export interface NixlAgentOptions {
  /** Unique among all agents that shall meet; it is the address. */
  readonly name: string;
  /** Default 100 ms. NIXL's own default, 0, keeps a core busy. */
  readonly progressDelayUs?: number;
  /** Default 1 ms; 0: notifications are never looked for. */
  readonly notificationPollUs?: number;
  readonly workers?: number;
  readonly telemetry?: boolean;
  readonly onNotification?: (notification: Notification) => void;
}

export interface NixlTransferOptions {
  readonly operation: 'read' | 'write';
  /** A back end's id; default: NIXL chooses. */
  readonly backend?: number;
  /** Delivered to the remote agent after its data. Such a transfer is done only when the remote process has noticed. */
  readonly notification?: Uint8Array;
  /** Default 30 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * One NIXL agent. All of NIXL runs on a thread of the agent's own, so that no call blocks the event loop. Every method
 * rejects with a NixlError. Close it: until then it holds its thread, connections and registered buffers.
 */
export class NixlAgent {
  readonly name: string;
  readonly #handle: AgentHandle;

  /** Use `Nixl.openAgent`. */
  constructor(name: string, handle: AgentHandle) {
    this.name = name;
    this.#handle = handle;
  }

  static async open(library: LibraryHandle, options: NixlAgentOptions): Promise<NixlAgent> {
    const { name, onNotification } = options;
    const handle = await binding().agentCreate(
      library,
      {
        name,
        progressDelayUs: options.progressDelayUs ?? DEFAULT_PROGRESS_DELAY_US,
        notificationPollUs:
          onNotification === undefined ? 0 : (options.notificationPollUs ?? DEFAULT_NOTIFICATION_POLL_US),
        workers: options.workers ?? 1,
        telemetry: options.telemetry ?? true,
      },
      (notifications) => {
        for (const notification of notifications) onNotification?.(notification);
      },
    );
    return new NixlAgent(name, handle);
  }

  /** Names of the plugins whose files are there; whether one loads shows `pluginInfo`. */
  async plugins(): Promise<readonly string[]> {
    return binding().agentPlugins(this.#handle);
  }

  /** Loads a plugin and tells its memory kinds and default parameters. */
  async pluginInfo(plugin: string): Promise<BackendInfo> {
    return binding().agentPluginInfo(this.#handle, plugin);
  }

  /** Opens a back end, for example `UCX`, with its default parameters where none are given. */
  async createBackend(plugin: string, parameters: Readonly<Record<string, string>> = {}): Promise<BackendInfo> {
    return binding().agentCreateBackend(this.#handle, plugin, parameters);
  }

  /** Registers memory by address; whoever owns it keeps it until it is deregistered. Default back end: all that can. */
  async register(memory: RangeList, backend = 0): Promise<number> {
    return this.#register(memory, backend, []);
  }

  /** Registers buffers of JavaScript and keeps them alive until they are deregistered. */
  async registerBuffers(buffers: readonly Uint8Array[], backend = 0): Promise<number> {
    const memory = dramRanges(buffers.map((buffer) => ({ address: addressOf(buffer), bytes: buffer.byteLength })));
    return this.#register(memory, backend, buffers);
  }

  async #register(memory: RangeList, backend: number, buffers: readonly Uint8Array[]): Promise<number> {
    const { id, failure } = await binding().agentRegister(this.#handle, memory, backend, buffers);
    if (failure !== null) throw failure;
    return id;
  }

  /** Rejects with `in_use` while a transfer or a prepared list uses the memory. */
  async deregister(registration: number): Promise<void> {
    return binding().agentDeregister(this.#handle, registration);
  }

  /** Whether each file or object is there. */
  async query(memory: RangeList, backend: number): Promise<readonly boolean[]> {
    return binding().agentQuery(this.#handle, memory, backend);
  }

  /** What another agent needs to reach this one and what is registered now. */
  async metadata(): Promise<Uint8Array> {
    return binding().agentMetadata(this.#handle);
  }

  /** Takes in another agent's metadata and returns its name. NIXL trusts these bytes: check where they come from. */
  async loadRemote(metadata: Uint8Array): Promise<string> {
    return binding().agentLoadRemote(this.#handle, metadata);
  }

  async forgetRemote(name: string): Promise<void> {
    return binding().agentForgetRemote(this.#handle, name);
  }

  /** Connects now instead of at the first transfer. */
  async connect(remote: string): Promise<void> {
    return binding().agentConnect(this.#handle, remote);
  }

  /** Sends a notification of its own, in no order with transfers. */
  async notify(remote: string, message: Uint8Array): Promise<void> {
    return binding().agentNotify(this.#handle, remote, message);
  }

  /** Checks a list once for many transfers. `owner`: '' for the local side, else the remote agent's name. */
  async prepare(owner: string, ranges: RangeList, backend = 0): Promise<number> {
    return binding().agentPrepare(this.#handle, owner, ranges, backend);
  }

  async releasePrepared(prepared: number): Promise<void> {
    return binding().agentReleasePrepared(this.#handle, prepared);
  }

  /**
   * Moves bytes between ranges of this agent's memory and as many of the remote's, and then reads `next`. Null where telemetry
   * is off.
   */
  async transfer(
    options: NixlTransferOptions,
    local: RangeList,
    remote: string,
    remoteRanges: RangeList,
    next: NextRead | null = null,
  ): Promise<Telemetry | null> {
    options.signal?.throwIfAborted();
    const running = binding().agentTransfer(this.#handle, complete(options), local, remote, remoteRanges, next);
    return this.#finish(running, options.signal);
  }

  /** The same between places of two prepared lists. */
  async transferPrepared(
    options: NixlTransferOptions,
    local: { readonly prepared: number; readonly indices: Int32Array },
    remote: { readonly prepared: number; readonly indices: Int32Array },
  ): Promise<Telemetry | null> {
    options.signal?.throwIfAborted();
    const running = binding().agentTransferPrepared(
      this.#handle,
      complete(options),
      local.prepared,
      local.indices,
      remote.prepared,
      remote.indices,
    );
    return this.#finish(running, options.signal);
  }

  /** Transfers that were given up while NIXL could not withdraw them; their memory stays registered until it can. */
  async lingering(): Promise<number> {
    return binding().agentLingering(this.#handle);
  }

  /** Ends what is in flight with `canceled`, closes connections and lets go of buffers. Idempotent. */
  close(): Promise<void> {
    return binding().agentClose(this.#handle);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #finish({ id, done }: RunningTransfer, signal: AbortSignal | undefined): Promise<Telemetry | null> {
    const cancel = (): void => binding().agentCancel(this.#handle, id);
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      return await done;
    } finally {
      signal?.removeEventListener('abort', cancel);
    }
  }
}

function complete(options: NixlTransferOptions) {
  return {
    operation: options.operation,
    backend: options.backend ?? 0,
    notification: options.notification ?? null,
    timeoutMs: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
  };
}
