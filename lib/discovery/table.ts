import { equals } from '@bufbuild/protobuf';
import type { Logger } from 'pino';
import { type Instance, InstanceSchema, type ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { DownReason, InstanceListener, Watch } from './discovery.ts';
import { type DiscoveryMetrics, discoveryMetrics, kindLabel } from './metrics.ts';
import { discoveryClosed } from './validate.ts';

type TableEvent =
  | { readonly type: 'put'; readonly instance: Instance }
  | { readonly type: 'remove'; readonly instanceId: bigint; readonly reason: DownReason };

/** What every back end feeds: the instances that are up, and the watches that follow them. */
export class InstanceTable {
  readonly metrics: DiscoveryMetrics;
  readonly #log: Logger;
  readonly #instances = new Map<bigint, Instance>();
  readonly #watches = new Set<TableWatch>();
  readonly #queue: TableEvent[] = [];
  #draining = false;
  #synced = false;
  #closed = false;

  constructor(telemetry: Telemetry) {
    this.metrics = discoveryMetrics(telemetry.metrics);
    this.#log = telemetry.log;
  }

  get synced(): boolean {
    return this.#synced;
  }

  has(instanceId: bigint): boolean {
    return this.#instances.has(instanceId);
  }

  /** Up, or changed, or nothing when it is known in just this form. */
  put(instance: Instance): void {
    this.#dispatch({ type: 'put', instance });
  }

  remove(instanceId: bigint, reason: DownReason): void {
    this.#dispatch({ type: 'remove', instanceId, reason });
  }

  /** Takes a whole listing: what it lacks went down for the given reason, and watches have their snapshot. */
  replaceAll(instances: Iterable<Instance>, reason: DownReason): void {
    const listed = new Map<bigint, Instance>();
    for (const instance of instances) listed.set(instance.instanceId, instance);
    for (const instanceId of [...this.#instances.keys()]) {
      if (!listed.has(instanceId)) this.remove(instanceId, reason);
    }
    for (const instance of listed.values()) this.put(instance);
    this.markSynced();
  }

  markSynced(): void {
    if (this.#synced || this.#closed) return;
    this.#synced = true;
    for (const watch of [...this.#watches]) watch.start(this.#instances.values());
  }

  watch(kind: ServiceKind | undefined, listener: Partial<InstanceListener>): Watch {
    if (this.#closed) throw discoveryClosed();
    const watch = new TableWatch(kind, listener, {
      closed: () => this.#watches.delete(watch),
      failed: (error) => {
        this.metrics.listenerErrors.inc();
        this.#log.error({ err: error }, 'discovery listener threw');
      },
    });
    this.#watches.add(watch);
    // Later, so that the caller holds the watch before its first callback.
    queueMicrotask(() => {
      if (this.#synced) watch.start(this.#instances.values());
    });
    return watch;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#queue.length = 0;
    for (const watch of [...this.#watches]) watch.close();
    for (const instance of this.#instances.values()) this.metrics.instances.dec({ kind: kindLabel(instance.kind) });
    this.#instances.clear();
  }

  /** One event reaches every watch before the next one, also when a callback causes further events. */
  #dispatch(event: TableEvent): void {
    this.#queue.push(event);
    if (this.#draining) return;
    this.#draining = true;
    try {
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) this.#apply(next);
    } finally {
      this.#draining = false;
    }
  }

  #apply(event: TableEvent): void {
    if (this.#closed) return;
    if (event.type === 'put') this.#applyPut(event.instance);
    else this.#applyRemove(event.instanceId, event.reason);
  }

  #applyPut(instance: Instance): void {
    const before = this.#instances.get(instance.instanceId);
    if (before !== undefined && equals(InstanceSchema, before, instance)) return;
    this.#instances.set(instance.instanceId, instance);
    if (before !== undefined) this.metrics.instances.dec({ kind: kindLabel(before.kind) });
    this.metrics.instances.inc({ kind: kindLabel(instance.kind) });
    this.metrics.events.inc({ type: before === undefined ? 'up' : 'change' });
    for (const watch of [...this.#watches]) watch.put(instance);
  }

  #applyRemove(instanceId: bigint, reason: DownReason): void {
    const before = this.#instances.get(instanceId);
    if (before === undefined) return;
    this.#instances.delete(instanceId);
    this.metrics.instances.dec({ kind: kindLabel(before.kind) });
    this.metrics.events.inc({ type: 'down' });
    for (const watch of [...this.#watches]) watch.remove(instanceId, reason);
  }
}

interface WatchOwner {
  closed(): void;
  failed(error: unknown): void;
}

class TableWatch implements Watch {
  readonly synced: Promise<void>;
  readonly #kind: ServiceKind | undefined;
  readonly #listener: Partial<InstanceListener>;
  readonly #owner: WatchOwner;
  readonly #known = new Map<bigint, Instance>();
  readonly #resolvers = Promise.withResolvers<void>();
  #state: 'waiting' | 'following' | 'closed' = 'waiting';

  constructor(kind: ServiceKind | undefined, listener: Partial<InstanceListener>, owner: WatchOwner) {
    this.#kind = kind;
    this.#listener = listener;
    this.#owner = owner;
    this.synced = this.#resolvers.promise;
    // Whoever does not await `synced` must not be ended by an unhandled rejection.
    this.synced.catch(() => undefined);
  }

  instances(): ReadonlyMap<bigint, Instance> {
    return this.#known;
  }

  start(snapshot: Iterable<Instance>): void {
    if (this.#state !== 'waiting') return;
    this.#state = 'following';
    for (const instance of [...snapshot]) this.put(instance);
    this.#resolvers.resolve();
  }

  put(instance: Instance): void {
    if (this.#state !== 'following') return;
    const before = this.#known.get(instance.instanceId);
    if (this.#kind !== undefined && instance.kind !== this.#kind) return;
    this.#known.set(instance.instanceId, instance);
    if (before === undefined) this.#call(() => this.#listener.onUp?.(instance));
    else this.#call(() => this.#listener.onChange?.(instance, before));
  }

  remove(instanceId: bigint, reason: DownReason): void {
    const before = this.#known.get(instanceId);
    if (this.#state !== 'following' || before === undefined) return;
    this.#known.delete(instanceId);
    this.#call(() => this.#listener.onDown?.(before, reason));
  }

  close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#resolvers.reject(discoveryClosed());
    this.#owner.closed();
  }

  #call(callback: () => void): void {
    try {
      callback();
    } catch (error) {
      this.#owner.failed(error);
    }
  }
}
