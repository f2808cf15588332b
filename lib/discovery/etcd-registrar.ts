import { setTimeout as sleep } from 'node:timers/promises';
import { EtcdLeaseInvalidError } from 'etcd3';
import type { Logger } from 'pino';
import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { Backoff } from './backoff.ts';
import type { Registration } from './discovery.ts';
import { EtcdEntry } from './etcd-entry.ts';
import { refusalOf } from './etcd-errors.ts';
import { type EtcdLease, grantLease, renewLease, revokeLease } from './etcd-lease.ts';
import type { EtcdConnection, EtcdLink } from './etcd-link.ts';
import type { DiscoveryMetrics } from './metrics.ts';
import { alreadyRegistered, discoveryClosed, prepareUpdate } from './validate.ts';

export interface EtcdRegistrarOptions {
  readonly link: EtcdLink;
  readonly ttlSeconds: number;
  readonly backoff: Backoff;
  /** Milliseconds that withdrawing may take before the lease is left to expire. */
  readonly withdrawTimeoutMs: number;
  readonly log: Logger;
  readonly metrics: DiscoveryMetrics;
}

/**
 * Keeps the process's registrations in etcd under one lease. A single loop does all the work, one request at a time:
 * it grants the lease, writes what differs, renews, looks whether the keys are still there, and starts over with a new
 * lease and all keys when the old one is lost, however long etcd was away.
 */
export class EtcdRegistrar {
  readonly #o: EtcdRegistrarOptions;
  readonly #entries = new Map<bigint, EtcdEntry>();
  readonly #shutdown = new AbortController();
  #lease: EtcdLease | undefined;
  /** When the lease is to be renewed, in monotonic milliseconds. */
  #renewAt = 0;
  /** Whether the keys are to be looked at: after each renewal. */
  #verifyDue = false;
  #wake = new AbortController();
  #running: Promise<void> | undefined;

  constructor(o: EtcdRegistrarOptions) {
    this.#o = o;
  }

  /** Resolves once etcd has the instance; waits as long as etcd is away. */
  async register(instance: Instance): Promise<Registration> {
    if (this.#shutdown.signal.aborted) throw discoveryClosed();
    if (this.#entries.has(instance.instanceId)) throw alreadyRegistered(instance);
    const entry = new EtcdEntry(instance);
    this.#entries.set(instance.instanceId, entry);
    this.#running ??= this.#run();
    await this.#flushed(entry);
    return {
      update: async (next) => {
        if (entry.withdrawn) throw discoveryClosed();
        entry.change(prepareUpdate(next, entry.instance));
        await this.#flushed(entry);
      },
      withdraw: async () => {
        await this.#withdraw(entry);
      },
    };
  }

  /** Withdraws everything and gives the lease back, as far as etcd answers in time. */
  async close(): Promise<void> {
    const withdrawn = await Promise.all([...this.#entries.values()].map((entry) => this.#withdraw(entry)));
    this.#shutdown.abort();
    this.#wake.abort();
    await this.#running;
    for (const entry of this.#entries.values()) entry.reject(discoveryClosed());
    this.#entries.clear();
    if (this.#lease === undefined || withdrawn.includes(false)) return;
    try {
      const connection = await this.#o.link.connection();
      await revokeLease(connection, this.#lease, this.#o.link.request);
    } catch (error) {
      this.#o.log.debug({ err: error }, 'etcd lease could not be given back and will expire');
    }
  }

  #flushed(entry: EtcdEntry): Promise<void> {
    const flushed = entry.flushed();
    this.#wake.abort();
    return flushed;
  }

  /** False when etcd did not take it in time: then it stays to be done, or to end with the lease. */
  async #withdraw(entry: EtcdEntry): Promise<boolean> {
    entry.withdraw();
    const stop = new AbortController();
    const timeout = sleep(this.#o.withdrawTimeoutMs, false, { signal: stop.signal }).catch(() => false);
    const inTime = await Promise.race([this.#flushed(entry).then(() => true), timeout]);
    stop.abort();
    if (!inTime) this.#o.log.warn('etcd did not take the withdrawal in time');
    return inTime;
  }

  async #run(): Promise<void> {
    const { link, backoff } = this.#o;
    const { signal } = this.#shutdown;
    while (!signal.aborted) {
      this.#wake = new AbortController();
      let connection: EtcdConnection | undefined;
      try {
        connection = await link.connection();
        await this.#work(connection);
        backoff.reset();
        link.succeeded('registration');
        await this.#rest();
      } catch (error) {
        if (signal.aborted) return;
        this.#failed(error, connection);
        await backoff.wait(signal);
      }
    }
  }

  async #work(connection: EtcdConnection): Promise<void> {
    const { link } = this.#o;
    if (this.#lease === undefined) {
      this.#lease = await grantLease(connection, this.#o.ttlSeconds, link.request);
      this.#scheduleRenewal(this.#lease);
    }
    const lease = this.#lease;
    await this.#renewWhenDue(connection, lease);
    // Many entries take long on a slow etcd: the lease must not run out meanwhile.
    for (const entry of [...this.#entries.values()]) {
      await this.#write(entry, connection, lease);
      await this.#renewWhenDue(connection, lease);
    }
    if (!this.#verifyDue) return;
    this.#verifyDue = false;
    for (const entry of [...this.#entries.values()]) {
      await this.#verify(entry, connection, lease);
      await this.#renewWhenDue(connection, lease);
    }
  }

  async #renewWhenDue(connection: EtcdConnection, lease: EtcdLease): Promise<void> {
    if (performance.now() < this.#renewAt) return;
    if (!(await renewLease(connection, lease, this.#o.link.request))) throw new EtcdLeaseInvalidError(lease.id);
    this.#scheduleRenewal(lease);
    this.#verifyDue = true;
  }

  #scheduleRenewal(lease: EtcdLease): void {
    this.#renewAt = performance.now() + (lease.ttlSeconds * 1000) / 3;
  }

  /** Until the next renewal, or until something is to be written. */
  async #rest(): Promise<void> {
    const untilRenewalMs = Math.max(0, this.#renewAt - performance.now());
    await sleep(untilRenewalMs, undefined, { signal: this.#wake.signal }).catch(() => undefined);
  }

  /** Puts a key back that somebody deleted while its lease lives. */
  async #verify(entry: EtcdEntry, connection: EtcdConnection, lease: EtcdLease): Promise<void> {
    if (await entry.restore(connection, lease, this.#o.link.request)) {
      this.#o.metrics.leaseLosses.inc();
      this.#o.log.warn(
        { instanceId: String(entry.instance.instanceId) },
        'own registration was missing in etcd, written again',
      );
    }
  }

  /** A value that etcd refuses for good is the caller's to hear, and does not hold up the other keys. */
  async #write(entry: EtcdEntry, connection: EtcdConnection, lease: EtcdLease): Promise<void> {
    try {
      await entry.write(connection, lease, this.#o.link.request);
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal === undefined) throw error;
      this.#o.log.error({ err: error }, 'etcd refuses a registration');
      if (!entry.everStored) this.#entries.delete(entry.instance.instanceId);
      entry.giveUp(refusal);
    }
    if (entry.withdrawn) this.#entries.delete(entry.instance.instanceId);
  }

  #failed(error: unknown, connection: EtcdConnection | undefined): void {
    this.#o.link.failed('registration', error, connection);
    if (error instanceof EtcdLeaseInvalidError) {
      this.#lease = undefined;
      this.#o.metrics.leaseLosses.inc();
      this.#o.log.warn('etcd lease lost, registering again');
      for (const entry of this.#entries.values()) entry.lost();
      return;
    }
    // Wrong credentials at the start: say so instead of trying for ever.
    const refusal = refusalOf(error);
    if (refusal === undefined) return;
    for (const entry of [...this.#entries.values()]) {
      if (entry.everStored) continue;
      this.#entries.delete(entry.instance.instanceId);
      entry.giveUp(refusal);
    }
  }
}
