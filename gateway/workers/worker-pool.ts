import type { Client } from '@connectrpc/connect';
import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import type { DownReason } from '#lib/discovery/discovery.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { ModelCatalog } from '../models/catalog.ts';
import type { SessionLookup } from '../pipeline/parts.ts';
import type { WorkerSession } from './worker-session.ts';

/** A connection for single calls. */
export interface EngineClient {
  readonly client: Client<typeof EngineService>;
  close(): void;
}

/** How workers are reached. */
export interface WorkerConnector {
  openSession(instance: Instance): WorkerSession;
  openClient(instance: Instance): EngineClient;
}

interface PooledWorker {
  instance: Instance;
  readonly session: WorkerSession;
  client: EngineClient | null;
  /**
   * Why its registration is gone, if it is. `withdrawn` by its own word: it gets nothing new and stays until what runs
   * has ended. `lost`: it stays as long as its session lives.
   */
  gone: 'withdrawn' | 'lost' | null;
}

/** How often a worker without registration is looked at. */
const lingerCheckMs = 500;

/**
 * A session to every worker that discovery knows. A worker whose registration vanishes stays while its session is alive:
 * a live session is better evidence than a lost lease.
 */
export class WorkerPool implements SessionLookup {
  readonly #workers = new Map<bigint, PooledWorker>();
  readonly #connector: WorkerConnector;
  readonly #catalog: ModelCatalog;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(connector: WorkerConnector, catalog: ModelCatalog) {
    this.#connector = connector;
    this.#catalog = catalog;
  }

  get size(): number {
    return this.#workers.size;
  }

  /** Sequences that run over all sessions. */
  get inFlight(): number {
    let running = 0;
    for (const worker of this.#workers.values()) running += worker.session.inFlight;
    return running;
  }

  instances(): readonly Instance[] {
    return [...this.#workers.values()].map((worker) => worker.instance);
  }

  up(instance: Instance): void {
    if (this.#closed) return;
    const known = this.#workers.get(instance.instanceId);
    if (known !== undefined && known.instance.address === instance.address) {
      known.instance = instance;
      known.gone = null;
    } else {
      if (known !== undefined) this.#drop(instance.instanceId, known);
      const session = this.#connector.openSession(instance);
      this.#workers.set(instance.instanceId, { instance, session, client: null, gone: null });
    }
    this.#catalog.upsert(instance);
  }

  down(instance: Instance, reason: DownReason): void {
    const worker = this.#workers.get(instance.instanceId);
    if (worker === undefined) return;
    worker.gone = reason === 'withdrawn' ? 'withdrawn' : 'lost';
    if (worker.gone === 'withdrawn') this.#catalog.remove(instance.instanceId);
    this.#review();
  }

  session(instanceId: bigint): WorkerSession {
    const worker = this.#workers.get(instanceId);
    if (worker !== undefined) return worker.session;
    throw new StatorError('worker_unavailable', `Worker ${instanceId} is not known to this gateway.`);
  }

  /** A connection for single calls to a worker; opened on first use. */
  client(instanceId: bigint): Client<typeof EngineService> {
    const worker = this.#workers.get(instanceId);
    if (worker === undefined)
      throw new StatorError('worker_unavailable', `Worker ${instanceId} is not known to this gateway.`);
    worker.client ??= this.#connector.openClient(worker.instance);
    return worker.client.client;
  }

  isAlive(instanceId: bigint): boolean {
    return this.#workers.get(instanceId)?.session.state === 'ready';
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    for (const [instanceId, worker] of this.#workers) this.#drop(instanceId, worker);
  }

  /** Lets go of unregistered workers whose session is no longer alive. */
  #review(): void {
    let lingering = false;
    for (const [instanceId, worker] of this.#workers) {
      if (worker.gone === null) continue;
      const needed = worker.session.state === 'ready' && (worker.gone === 'lost' || worker.session.inFlight > 0);
      if (needed) lingering = true;
      else this.#drop(instanceId, worker);
    }
    if (lingering && this.#timer === null) {
      this.#timer = setInterval(() => this.#review(), lingerCheckMs);
      this.#timer.unref();
    }
    if (!lingering && this.#timer !== null) {
      clearInterval(this.#timer);
      this.#timer = null;
    }
  }

  #drop(instanceId: bigint, worker: PooledWorker): void {
    this.#workers.delete(instanceId);
    worker.session.close();
    worker.client?.close();
    this.#catalog.remove(instanceId);
  }
}
