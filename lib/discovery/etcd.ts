import type { Instance, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { Backoff } from './backoff.ts';
import type { Discovery, InstanceListener, Registration, Watch } from './discovery.ts';
import { instancesInto } from './etcd-instances.ts';
import { instancesPrefix } from './etcd-keys.ts';
import { EtcdLink } from './etcd-link.ts';
import { EtcdRegistrar } from './etcd-registrar.ts';
import type { EtcdTarget } from './etcd-target.ts';
import { EtcdWatcher } from './etcd-watcher.ts';
import { InstanceTable } from './table.ts';
import { checkNamespace, discoveryClosed, prepareInstance } from './validate.ts';

export interface EtcdDiscoveryOptions {
  readonly namespace: string;
  readonly ttlSeconds: number;
  readonly telemetry: Telemetry;
  /** Milliseconds between two comparisons of the view with what etcd holds. Default 30 s. */
  readonly auditMs?: number;
}

/** Discovery through etcd: a key for each instance, under a lease of its process. */
export class EtcdDiscovery implements Discovery {
  readonly #namespace: string;
  readonly #link: EtcdLink;
  readonly #table: InstanceTable;
  readonly #registrar: EtcdRegistrar;
  readonly #watcher: EtcdWatcher;
  #closing: Promise<void> | undefined;

  constructor(target: EtcdTarget, o: EtcdDiscoveryOptions) {
    const { log } = o.telemetry;
    const thirdOfTtlMs = (o.ttlSeconds * 1000) / 3;
    const requestTimeoutMs = Math.min(5000, Math.max(500, thirdOfTtlMs));
    // Well within the TTL, so that an outage of etcd that a lease survives does not end it after all.
    const backoff = { firstMs: 250, maximumMs: Math.min(5000, thirdOfTtlMs) };
    this.#namespace = checkNamespace(o.namespace);
    this.#table = new InstanceTable(o.telemetry);
    const { metrics } = this.#table;
    this.#link = new EtcdLink({ target, requestTimeoutMs, log, metrics });
    this.#registrar = new EtcdRegistrar({
      link: this.#link,
      ttlSeconds: o.ttlSeconds,
      backoff: new Backoff(backoff),
      withdrawTimeoutMs: requestTimeoutMs,
      log,
      metrics,
    });
    this.#watcher = new EtcdWatcher({
      link: this.#link,
      prefix: instancesPrefix(this.#namespace),
      progressMs: Math.min(5000, Math.max(250, thirdOfTtlMs)),
      auditMs: o.auditMs ?? 30_000,
      backoff: new Backoff(backoff),
      sink: instancesInto(this.#table, log),
    });
  }

  get connected(): boolean {
    return this.#table.metrics.connected.value;
  }

  async register(instance: Instance): Promise<Registration> {
    if (this.#closing !== undefined) throw discoveryClosed();
    return this.#registrar.register(prepareInstance(instance, this.#namespace));
  }

  watch(kind: ServiceKind | undefined, listener: Partial<InstanceListener> = {}): Watch {
    const watch = this.#table.watch(kind, listener);
    this.#watcher.start();
    return watch;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#table.close();
    const watcher = this.#watcher.close();
    await this.#registrar.close();
    this.#link.close();
    await watcher;
  }
}
