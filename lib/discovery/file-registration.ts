import { utimes } from 'node:fs/promises';
import path from 'node:path';
import type { Logger } from 'pino';
import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Registration } from './discovery.ts';
import { entryName, isMissing, removeFile, writeEntry } from './file-entry.ts';
import type { DiscoveryMetrics } from './metrics.ts';
import { discoveryClosed, prepareUpdate } from './validate.ts';

export interface FileRegistrationOptions {
  readonly directory: string;
  readonly heartbeatMs: number;
  readonly log: Logger;
  readonly metrics: DiscoveryMetrics;
  withdrawn(): void;
}

/** Owns one entry: writes it, touches it, and writes it again when it is gone. */
export class FileRegistration implements Registration {
  readonly #o: FileRegistrationOptions;
  readonly #file: string;
  #instance: Instance;
  /** Operations on the file, one after the other, so that no heartbeat can bring a withdrawn entry back. */
  #tail: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #state: 'live' | 'withdrawn' = 'live';
  #failing = false;
  /** The file lacks the newest form, because writing it failed. */
  #outdated = false;
  #beating = false;

  constructor(instance: Instance, o: FileRegistrationOptions) {
    this.#instance = instance;
    this.#o = o;
    this.#file = path.join(o.directory, entryName(instance));
  }

  async start(): Promise<void> {
    await this.#enqueue(() => this.#write());
    if (this.#state !== 'live') throw discoveryClosed();
    this.#o.metrics.connected.set(true);
    this.#timer = setInterval(() => this.#scheduleBeat(), this.#o.heartbeatMs);
    this.#timer.unref();
  }

  async update(instance: Instance): Promise<void> {
    if (this.#state !== 'live') throw discoveryClosed();
    this.#instance = prepareUpdate(instance, this.#instance);
    await this.#enqueue(async () => {
      if (this.#state === 'live') await this.#write();
    });
  }

  async withdraw(): Promise<void> {
    if (this.#state === 'live') {
      this.#state = 'withdrawn';
      clearInterval(this.#timer);
      this.#o.withdrawn();
      await this.#enqueue(() => removeFile(this.#file));
    }
    await this.#tail;
  }

  async #write(): Promise<void> {
    this.#outdated = true;
    try {
      await writeEntry(this.#o.directory, this.#instance);
      this.#outdated = false;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      throw new StatorError('internal', `the discovery entry cannot be written: ${message}`, { cause: error });
    }
  }

  #enqueue(operation: () => Promise<void>): Promise<void> {
    const result = this.#tail.then(operation);
    this.#tail = result.catch(() => undefined);
    return result;
  }

  /** A file system that hangs must not pile up heartbeats. */
  #scheduleBeat(): void {
    if (this.#beating) return;
    this.#beating = true;
    void this.#enqueue(() => this.#beat()).finally(() => {
      this.#beating = false;
    });
  }

  /** A touch is the heartbeat. An entry that others took for dead and removed, or a lost folder, is written anew. */
  async #beat(): Promise<void> {
    if (this.#state !== 'live') return;
    try {
      await this.#touch();
      this.#o.metrics.connected.set(true);
      if (this.#failing) this.#o.log.info({ file: this.#file }, 'discovery entry is renewed again');
      this.#failing = false;
    } catch (error) {
      this.#o.metrics.connected.set(false);
      if (!this.#failing)
        this.#o.log.warn({ err: error, file: this.#file }, 'discovery entry could not be renewed, trying on');
      this.#failing = true;
    }
  }

  async #touch(): Promise<void> {
    if (this.#outdated) return this.#write();
    const now = new Date();
    try {
      await utimes(this.#file, now, now);
    } catch (error) {
      if (!isMissing(error)) throw error;
      this.#o.metrics.leaseLosses.inc();
      await this.#write();
    }
  }
}
