import { CompareResult, CompareTarget } from 'etcd3';
import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { encodeInstance, instanceKey, WITHDRAWN } from './etcd-keys.ts';
import type { EtcdLease } from './etcd-lease.ts';
import type { EtcdConnection } from './etcd-link.ts';

interface CallOptions {
  readonly deadline: number;
}

interface Waiter {
  readonly version: number;
  readonly resolvers: PromiseWithResolvers<void>;
}

/** One key of ours: what it should hold, what etcd has of that, and who waits for the two to be equal. */
export class EtcdEntry {
  #instance: Instance;
  /** The form that etcd took last. */
  #storedInstance: Instance | undefined;
  #withdrawn = false;
  /** Counts the changes; `#stored` is the one that etcd has. */
  #version = 1;
  #stored = 0;
  #waiters: Waiter[] = [];

  constructor(instance: Instance) {
    this.#instance = instance;
  }

  get instance(): Instance {
    return this.#instance;
  }

  get withdrawn(): boolean {
    return this.#withdrawn;
  }

  get everStored(): boolean {
    return this.#storedInstance !== undefined;
  }

  change(instance: Instance): void {
    this.#instance = instance;
    this.#version += 1;
  }

  withdraw(): void {
    if (this.#withdrawn) return;
    this.#withdrawn = true;
    this.#version += 1;
  }

  /** The lease is gone, and the key with it. */
  lost(): void {
    this.#stored = 0;
  }

  /** Resolves once etcd has the version that is current now, or a later one. */
  flushed(): Promise<void> {
    if (this.#stored >= this.#version) return Promise.resolve();
    const resolvers = Promise.withResolvers<void>();
    this.#waiters.push({ version: this.#version, resolvers });
    return resolvers.promise;
  }

  /** Brings etcd to the current version; nothing to do when it has it. */
  async write(connection: EtcdConnection, lease: EtcdLease, o: CallOptions): Promise<void> {
    if (this.#stored >= this.#version) return;
    const version = this.#version;
    const key = instanceKey(this.#instance);
    if (this.#withdrawn) {
      // First a mark, so that watchers can tell a withdrawal from a lease that ran out.
      await connection.etcd.kv.put({ key, value: WITHDRAWN, lease: lease.id }, o);
      await connection.etcd.kv.deleteRange({ key }, o);
    } else {
      const instance = this.#instance;
      await connection.etcd.kv.put({ key, value: encodeInstance(instance), lease: lease.id }, o);
      this.#storedInstance = instance;
    }
    this.#stored = version;
    this.#settle(version);
  }

  /** Writes the key again when it is gone or hangs on another lease; says whether that was so. */
  async restore(connection: EtcdConnection, lease: EtcdLease, o: CallOptions): Promise<boolean> {
    if (this.#stored < this.#version || this.#withdrawn) return false;
    const key = instanceKey(this.#instance);
    const put = { key, value: encodeInstance(this.#instance), lease: lease.id };
    const compare = { key, target: CompareTarget.Lease, result: CompareResult.Equal, lease: lease.id };
    const answer = await connection.etcd.kv.txn(
      { compare: [compare], success: [], failure: [{ request_put: put }] },
      o,
    );
    return !answer.succeeded;
  }

  /** The current version will never be stored: tells whoever waits, and goes back to the form that etcd took. */
  giveUp(error: Error): void {
    this.#instance = this.#storedInstance ?? this.#instance;
    this.#stored = this.#version;
    this.reject(error);
  }

  reject(error: Error): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const { resolvers } of waiters) resolvers.reject(error);
  }

  #settle(version: number): void {
    const done = this.#waiters.filter((waiter) => waiter.version <= version);
    this.#waiters = this.#waiters.filter((waiter) => waiter.version > version);
    for (const { resolvers } of done) resolvers.resolve();
  }
}
