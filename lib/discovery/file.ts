import path from 'node:path';
import type { Instance, ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { Discovery, InstanceListener, Registration, Watch } from './discovery.ts';
import { FileRegistration } from './file-registration.ts';
import { FileScanner } from './file-scanner.ts';
import { InstanceTable } from './table.ts';
import { alreadyRegistered, checkNamespace, discoveryClosed, prepareInstance } from './validate.ts';

export interface FileDiscoveryOptions {
  readonly namespace: string;
  readonly ttlSeconds: number;
  readonly telemetry: Telemetry;
  /** Milliseconds between two looks at the whole folder. Default: a fifth of the TTL, 100 to 2000. */
  readonly pollMs?: number;
  /** Whether to ask the system for change notices; without them only polling finds changes. Default true. */
  readonly notices?: boolean;
  /** Milliseconds of silence after which an entry's file is removed. Default: six TTLs, at least 30 s. */
  readonly removeAfterMs?: number;
}

/** Discovery through a folder that all processes share: a subfolder for each namespace, a file for each instance. */
export class FileDiscovery implements Discovery {
  readonly #namespace: string;
  readonly #directory: string;
  readonly #ttlMs: number;
  readonly #telemetry: Telemetry;
  readonly #table: InstanceTable;
  readonly #scanner: FileScanner;
  readonly #registrations = new Map<bigint, FileRegistration>();
  #scanning = false;
  #closing: Promise<void> | undefined;

  constructor(directory: string, o: FileDiscoveryOptions) {
    this.#namespace = checkNamespace(o.namespace);
    this.#directory = path.join(directory, this.#namespace);
    this.#ttlMs = o.ttlSeconds * 1000;
    this.#telemetry = o.telemetry;
    this.#table = new InstanceTable(o.telemetry);
    this.#scanner = new FileScanner({
      directory: this.#directory,
      namespace: this.#namespace,
      ttlMs: this.#ttlMs,
      pollMs: o.pollMs ?? Math.min(2000, Math.max(100, this.#ttlMs / 5)),
      notices: o.notices ?? true,
      removeAfterMs: o.removeAfterMs ?? Math.max(6 * this.#ttlMs, 30_000),
      log: o.telemetry.log,
      table: this.#table,
    });
  }

  get connected(): boolean {
    return this.#table.metrics.connected.value;
  }

  async register(instance: Instance): Promise<Registration> {
    if (this.#closing !== undefined) throw discoveryClosed();
    const prepared = prepareInstance(instance, this.#namespace);
    const instanceId = prepared.instanceId;
    if (this.#registrations.has(instanceId)) throw alreadyRegistered(prepared);
    const registration = new FileRegistration(prepared, {
      directory: this.#directory,
      heartbeatMs: this.#ttlMs / 3,
      log: this.#telemetry.log,
      metrics: this.#table.metrics,
      withdrawn: () => this.#registrations.delete(instanceId),
    });
    this.#registrations.set(instanceId, registration);
    try {
      await registration.start();
    } catch (error) {
      this.#registrations.delete(instanceId);
      throw error;
    }
    return registration;
  }

  watch(kind: ServiceKind | undefined, listener: Partial<InstanceListener> = {}): Watch {
    const watch = this.#table.watch(kind, listener);
    if (!this.#scanning) {
      this.#scanning = true;
      this.#scanner.start();
    }
    return watch;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#table.close();
    const withdrawals = [...this.#registrations.values()].map((registration) => registration.withdraw());
    const results = await Promise.allSettled(withdrawals);
    await this.#scanner.close();
    for (const result of results) {
      if (result.status === 'rejected')
        this.#telemetry.log.warn({ err: result.reason }, 'discovery entry could not be withdrawn');
    }
  }
}
