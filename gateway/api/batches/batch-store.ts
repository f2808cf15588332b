import { z } from 'zod';
import { StatorError } from '#lib/errors/errors.ts';
import type { Store } from '#lib/store/store.ts';
import type { Caller } from '../../tenants/caller.ts';
import { type PageAsked, storedPage } from '../page.ts';
import { tenantCollection } from '../tenant-collection.ts';
import { type BatchObject, batchObject } from './schema.ts';

const stored = z.object({
  batch: batchObject,
  /** Seconds after which its output files are deleted; null: the default. */
  outputExpiresAfter: z.int().nullable(),
});

export type StoredBatch = z.infer<typeof stored>;

/** Batches of the tenant whose request is being answered. */
export class BatchStore {
  readonly #store: Store;
  readonly #collection = tenantCollection('batches');

  constructor(store: Store) {
    this.#store = store;
  }

  async create(batch: StoredBatch, expiresUnixMs: number): Promise<void> {
    await this.#store.put(this.#collection, batch.batch.id, bytesOf(batch), { ifVersion: 0, expiresUnixMs });
  }

  async get(id: string): Promise<StoredBatch> {
    return (await this.#read(id)).value;
  }

  /** Changes a batch; the change is asked again where somebody else was faster. `false`: it stays as it is. */
  async change(id: string, change: (batch: BatchObject) => boolean): Promise<StoredBatch> {
    for (;;) {
      const { value, version, expiresUnixMs } = await this.#read(id);
      if (!change(value.batch)) return value;
      try {
        await this.#store.put(this.#collection, id, bytesOf(value), { ifVersion: version, expiresUnixMs });
        return value;
      } catch (thrown) {
        if (StatorError.from(thrown).code !== 'conflict') throw thrown;
      }
    }
  }

  async list(asked: PageAsked): Promise<{ items: readonly BatchObject[]; hasMore: boolean }> {
    return storedPage(this.#store, this.#collection, asked, (value) => batchOf(value).batch);
  }

  async #read(id: string): Promise<{ value: StoredBatch; version: number; expiresUnixMs: number | null }> {
    const found = /^batch_\w{1,100}$/.test(id) ? await this.#store.get(this.#collection, id) : null;
    if (found === null) throw StatorError.notFound(`The batch \`${id.slice(0, 128)}\` does not exist.`);
    return { value: batchOf(found.value), version: found.version, expiresUnixMs: found.expiresUnixMs };
  }
}

function bytesOf(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function batchOf(value: Uint8Array): StoredBatch {
  const parsed: unknown = JSON.parse(Buffer.from(value).toString('utf8'));
  return stored.parse(parsed);
}

/** A batch that is not done: who left it, and which gateway works on it until when. */
export interface QueuedBatch {
  readonly id: string;
  readonly caller: Caller;
  readonly owner: string;
  readonly leaseUnixMs: number;
}

/** The batches of all tenants that are not done. */
export class BatchQueue {
  readonly #store: Store;
  readonly #collection = 'batch-queue';

  constructor(store: Store) {
    this.#store = store;
  }

  async add(id: string, caller: Caller): Promise<void> {
    const entry: QueuedBatch = { id, caller, owner: '', leaseUnixMs: 0 };
    await this.#store.put(this.#collection, id, bytesOf(entry), { ifVersion: 0 });
  }

  /** Batches that nobody works on, the oldest first. */
  async waiting(
    nowMs: number,
    isOurs: (id: string) => boolean,
  ): Promise<readonly (QueuedBatch & { version: number })[]> {
    const entries = await this.#store.list(this.#collection, { limit: 1000 });
    return entries
      .map(({ value, version }) => ({ ...entryOf(value), version }))
      .filter(({ id, leaseUnixMs }) => leaseUnixMs < nowMs && !isOurs(id));
  }

  /** Takes or keeps a batch; null: another gateway has it. Else the version to keep it with. */
  async hold(entry: QueuedBatch, version: number): Promise<number | null> {
    try {
      return await this.#store.put(this.#collection, entry.id, bytesOf(entry), { ifVersion: version });
    } catch (thrown) {
      if (StatorError.from(thrown).code === 'conflict') return null;
      throw thrown;
    }
  }

  async remove(id: string): Promise<void> {
    await this.#store.delete(this.#collection, id);
  }
}

function entryOf(value: Uint8Array): QueuedBatch {
  return JSON.parse(Buffer.from(value).toString('utf8')) as QueuedBatch;
}
