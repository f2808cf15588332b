import { StatorError } from '#lib/errors/errors.ts';
import type { Store } from '#lib/store/store.ts';
import type { Caller } from '../../tenants/caller.ts';
import { tenantCollection } from '../tenant-collection.ts';
import type { HeaderWishes } from '../translate/header-wishes.ts';
import type { ResolvedBody, ResponsesRequestBody } from './schema.ts';

const collection = 'response-runs';
/** Looked through at once. */
const mostWaiting = 1000;

/** A background response that has not ended: who asked for it, and which run of it counts until when. */
export interface QueuedRun {
  readonly id: string;
  readonly caller: Caller;
  readonly owner: string;
  readonly leaseUnixMs: number;
  /** Runs that were begun. */
  readonly attempts: number;
}

/** What a background response was asked with, besides its input, which is stored with it. No credentials. */
export interface AskedRun {
  readonly body: Omit<ResolvedBody<ResponsesRequestBody>, 'input'>;
  readonly headers: HeaderWishes;
  readonly requestId: string;
}

/** Background responses of all tenants that have not ended, for gateways that take up what another one left. */
export class RunQueue {
  readonly #store: Store;
  readonly #asked = tenantCollection('response-asked');

  /** What was asked is that of the caller whose request is being answered. */
  constructor(store: Store) {
    this.#store = store;
  }

  async add(run: QueuedRun, asked: AskedRun, expiresUnixMs: number): Promise<number> {
    await this.#store.put(this.#asked, run.id, bytesOf(asked), { expiresUnixMs });
    return this.#store.put(collection, run.id, bytesOf(run), { ifVersion: 0, expiresUnixMs });
  }

  /** null: it is gone. */
  async asked(id: string): Promise<AskedRun | null> {
    const found = await this.#store.get(this.#asked, id);
    return found === null ? null : askedOf(found.value);
  }

  /** Runs that nobody answers for. */
  async waiting(nowMs: number): Promise<readonly (QueuedRun & { readonly version: number })[]> {
    const entries = await this.#store.list(collection, { limit: mostWaiting });
    return entries
      .map(({ value, version }) => ({ ...(JSON.parse(Buffer.from(value).toString()) as QueuedRun), version }))
      .filter(({ leaseUnixMs }) => leaseUnixMs < nowMs);
  }

  /** Takes or keeps a run; null: another gateway has it, or it is gone. Else the version to keep it with. */
  async hold(run: QueuedRun, version: number, expiresUnixMs: number): Promise<number | null> {
    try {
      return await this.#store.put(collection, run.id, bytesOf(run), { ifVersion: version, expiresUnixMs });
    } catch (thrown) {
      if (StatorError.from(thrown).code === 'conflict') return null;
      throw thrown;
    }
  }

  async remove(id: string): Promise<void> {
    await this.#store.delete(collection, id);
    await this.#store.delete(this.#asked, id);
  }
}

/** Identifiers of workers have 64 bits. */
function bytesOf(value: QueuedRun | AskedRun): Buffer {
  return Buffer.from(JSON.stringify(value, (_, one: unknown) => (typeof one === 'bigint' ? one.toString() : one)));
}

function askedOf(value: Uint8Array): AskedRun {
  const asked = JSON.parse(Buffer.from(value).toString()) as AskedRun;
  const { headers } = asked;
  const id = (one: bigint | null): bigint | null => (one === null ? null : BigInt(one));
  const ids = { instanceId: id(headers.instanceId), prefillInstanceId: id(headers.prefillInstanceId) };
  return { ...asked, headers: { ...headers, ...ids } };
}
