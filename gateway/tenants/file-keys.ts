import { statSync } from 'node:fs';
import type { Logger } from 'pino';
import { StatorError } from '#lib/errors/errors.ts';
import type { Policy } from './caller.ts';
import type { ApiKey, KeyTable } from './key-entry.ts';
import { loadKeys } from './key-file.ts';
import type { KeySource } from './key-source.ts';

/** API keys of a file, which is read again whenever it changed. One that cannot be used as a whole is not used at all. */
export class FileKeys implements KeySource {
  readonly #path: string;
  readonly #log: Logger;
  readonly #timer: NodeJS.Timeout;
  #table: KeyTable;
  #fingerprint: string;
  #problem: string | null = null;

  /** Looks at the file every `reloadMs`: watches miss what Kubernetes does with symbolic links. Throws like `loadKeys`. */
  constructor(path: string, { reloadMs, log }: { readonly reloadMs: number; readonly log: Logger }) {
    this.#path = path;
    this.#log = log;
    this.#fingerprint = fingerprintOf(path);
    this.#table = loadKeys(path);
    this.#timer = setInterval(() => this.#reload(), reloadMs).unref();
  }

  get keys(): ReadonlyMap<string, ApiKey> {
    return this.#table.keys;
  }

  get ids(): ReadonlyMap<string, ApiKey> {
    return this.#table.ids;
  }

  /** Tenants that identity providers vouch for. */
  get tenants(): ReadonlyMap<string, Policy> {
    return this.#table.tenants;
  }

  get problem(): string | null {
    return this.#problem;
  }

  get refused(): number {
    return 0;
  }

  /** A file is there: what it says now is what somebody wanted. */
  get seenMs(): number {
    return performance.now();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
  }

  #reload(): void {
    const now = fingerprintOf(this.#path);
    if (now === this.#fingerprint) return;
    this.#fingerprint = now;
    try {
      this.#table = loadKeys(this.#path);
      this.#problem = null;
      this.#log.info({ keys: this.#table.keys.size }, 'API keys were read again');
    } catch (thrown) {
      this.#problem = StatorError.from(thrown).message;
      this.#log.error({ err: thrown }, 'the file of API keys changed but cannot be used; the old keys stay');
    }
  }
}

function fingerprintOf(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? '' : `${stat.ino}:${stat.mtimeMs}:${stat.size}`;
}
