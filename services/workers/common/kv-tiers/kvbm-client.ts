import type { Client } from '@connectrpc/connect';
import { type AttachResponse, KvBlockService, type PresenceEvents } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { Backoff } from '#lib/discovery/backoff.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import type { RpcTarget } from '#lib/rpc/target.ts';
import type { MemoryAddon } from '#lib/sharedmem/addon.ts';
import { BulkMemory } from '#lib/sharedmem/bulk-memory.ts';
import { openSharedMemory } from '#lib/sharedmem/shared-memory.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { EngineKv, KvFormat } from '../engine-kv.ts';
import { Attachment } from './attachment.ts';
import { LockFile, type ProcessLocks, sweepLockFiles } from './lock-file.ts';
import { MappedSlab } from './mapped-slab.ts';
import { Silence } from './silence.ts';

/** However often the block manager says that it lives, a busy machine may keep it quiet for so long. */
const leastSilenceMs = 1000;

/** Where the block manager may be now, the likeliest first. */
export interface KvbmLocator {
  targets(): readonly RpcTarget[];
  /** Calls back whenever the answer may have changed, until the signal aborts. */
  onChange(listener: () => void, signal: AbortSignal): void;
}

export interface KvbmClientOptions {
  readonly locator: KvbmLocator;
  readonly kv: Pick<EngineKv, 'format' | 'adapterDigest'>;
  readonly instanceId: bigint;
  readonly name: string;
  readonly telemetry: Telemetry;
  /** Loaded once it is needed. */
  readonly memory: () => MemoryAddon & ProcessLocks;
  readonly lockDirectory: string;
  /** Milliseconds that attaching may take: the block manager may have to make room for a new layout first. */
  readonly attachTimeoutMs: number;
  /** Milliseconds of any short call. */
  readonly callTimeoutMs: number;
  readonly backoff: { readonly firstMs: number; readonly maximumMs: number };
  readonly listener: KvbmListener;
}

export interface KvbmListener {
  onAttached(attachment: Attachment): void;
  onPresence(events: PresenceEvents): void;
  /** The block manager is gone, and with it what was known of its tiers. */
  onDetached(why: StatorError): void;
  /** There is one, but attaching failed. */
  onRefused(why: StatorError): void;
}

/** Locks that this process has made: its engines have one instance, and so one name, together. */
let locks = 0;

/**
 * This worker as a holder of its node's block manager: attached whenever there is one, and again when it comes back. A
 * stream that ends or falls silent ends everything that was done by its right; what still reads or writes the slab then is
 * waited for before the memory is unmapped and the lock given up.
 */
export class KvbmClient {
  readonly #o: KvbmClientOptions;
  readonly #closing = new AbortController();
  #bulk: BulkMemory | undefined;
  readonly #leaving = new Set<Promise<void>>();
  #current: Attachment | undefined;
  #changed = Promise.withResolvers<void>();
  #running: Promise<void> | undefined;

  constructor(options: KvbmClientOptions) {
    this.#o = options;
  }

  /** Undefined while there is no block manager to use. */
  get current(): Attachment | undefined {
    return this.#current;
  }

  start(): void {
    sweepLockFiles(this.#o.lockDirectory, this.#o.memory());
    this.#o.locator.onChange(() => {
      this.#changed.resolve();
      this.#changed = Promise.withResolvers();
    }, this.#closing.signal);
    this.#running ??= this.#run();
  }

  /** Ends the attachment. Resolves when the slab is not touched any more. Idempotent. */
  async stop(): Promise<void> {
    this.#closing.abort(new StatorError('cancelled', 'the worker stops'));
    await this.#running;
    await Promise.all(this.#leaving);
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    const backoff = new Backoff(this.#o.backoff);
    for (let tries = 0; !signal.aborted; ) {
      const changed = this.#changed.promise;
      const targets = this.#o.locator.targets();
      const target = targets[tries % Math.max(1, targets.length)];
      if (target === undefined) {
        await Promise.race([changed, aborted(signal)]);
        continue;
      }
      const wasAttached = await this.#attached(target);
      tries = wasAttached ? 0 : tries + 1;
      if (wasAttached) backoff.reset();
      if (!signal.aborted) await Promise.race([backoff.wait(signal), changed]);
    }
  }

  /** One life as a holder; whether it began. */
  async #attached(target: RpcTarget): Promise<boolean> {
    const ending = new AbortController();
    const silence = new Silence(ending);
    const onClose = (): void => ending.abort(this.#closing.signal.reason);
    this.#closing.signal.addEventListener('abort', onClose, { once: true });
    let rpc: ReturnType<typeof createRpcClient<typeof KvBlockService>> | undefined;
    let lock: LockFile | undefined;
    let attachment: Attachment | undefined;
    let why: unknown;
    try {
      rpc = createRpcClient(KvBlockService, target, this.#o.telemetry);
      lock = this.#newLock();
      silence.expect(this.#o.attachTimeoutMs);
      for await (const { message } of this.#attach(rpc.client, lock.path, ending.signal)) {
        if (message.case === 'welcome' && attachment === undefined) {
          attachment = await this.#welcome(rpc.client, message.value, ending.signal);
          this.#current = attachment;
          this.#o.listener.onAttached(attachment);
          silence.expect(Math.max(leastSilenceMs, 3 * message.value.heartbeatMs));
        }
        silence.heard();
        if (attachment !== undefined) attachment.isSilent = false;
        if (message.case === 'events') this.#o.listener.onPresence(message.value);
      }
      why = new StatorError('worker_unavailable', 'the block manager ended the stream');
    } catch (thrown) {
      why = ending.signal.aborted ? ending.signal.reason : thrown;
    }
    silence.end();
    this.#closing.signal.removeEventListener('abort', onClose);
    ending.abort(why);
    this.#current = undefined;
    rpc?.close();
    this.#leave(attachment, lock);
    this.#tell(attachment !== undefined, StatorError.from(why));
    return attachment !== undefined;
  }

  #attach(client: Client<typeof KvBlockService>, lockFile: string, signal: AbortSignal): AsyncIterable<AttachResponse> {
    const { kv, instanceId, name } = this.#o;
    return client.attach({ instanceId, name, layout: layoutOf(kv.format), lockFile, events: true }, { signal });
  }

  async #welcome(
    client: Client<typeof KvBlockService>,
    welcome: Extract<AttachResponse['message'], { case: 'welcome' }>['value'],
    signal: AbortSignal,
  ): Promise<Attachment> {
    const { kv, memory, callTimeoutMs } = this.#o;
    const { holderId, epoch, slabFile } = welcome;
    const mapped = await openSharedMemory(
      { path: slabFile, bytes: Number(welcome.slabBytes), create: false, signal },
      memory(),
    );
    try {
      signal.throwIfAborted();
      const slab = new MappedSlab(mapped, welcome, kv.format.blockBytes);
      const adapterDigest = (name: string): Uint8Array | null => kv.adapterDigest(name);
      this.#bulk ??= new BulkMemory(memory());
      const parts = { client, holderId, epoch, slab, bulk: this.#bulk, format: kv.format, adapterDigest };
      return new Attachment({ ...parts, callTimeoutMs, signal });
    } catch (thrown) {
      await mapped.close();
      throw thrown;
    }
  }

  #newLock(): LockFile {
    const { instanceId, lockDirectory, memory } = this.#o;
    return new LockFile(lockDirectory, `${instanceId.toString(16)}-${process.pid}-${locks++}`, memory());
  }

  /** Gives the memory back, then the lock, once nothing of this life touches the slab. */
  #leave(attachment: Attachment | undefined, lock: LockFile | undefined): void {
    if (attachment === undefined) {
      lock?.close();
      return;
    }
    const leaving = attachment
      .unused()
      .then(() => attachment.slab.memory.close())
      .finally(() => {
        lock?.close();
        this.#leaving.delete(leaving);
      });
    this.#leaving.add(leaving);
  }

  #tell(wasAttached: boolean, why: StatorError): void {
    const { listener } = this.#o;
    if (wasAttached) listener.onDetached(why);
    else if (!this.#closing.signal.aborted) listener.onRefused(why);
  }
}

/** Shape of an engine's blocks; equal shapes may share memory. */
export function layoutOf({ engine, dtype, blockBytes, blockTokens }: KvFormat) {
  return { format: engine, dtype, blockBytes: BigInt(blockBytes), blockTokens };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
