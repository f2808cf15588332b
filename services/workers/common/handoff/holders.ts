import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import type { KvHandoff } from '#gen/stator/transfer/v1/handoff_pb.ts';
import { createRpcClient, type RpcClient } from '#lib/rpc/client.ts';
import { type SecurityConfig, targetOf } from '#lib/service/security.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';

const timeoutMs = 5000;

/** Prefill workers that are spoken with at once at most; the one that was not for the longest is forgotten first. */
const maxHolders = 256;

/** Connections to prefill workers, for telling them that their KV was fetched. */
export class Holders {
  readonly #telemetry: Telemetry;
  readonly #security: SecurityConfig;
  readonly #clients = new Map<string, RpcClient<typeof EngineService>>();

  constructor(telemetry: Telemetry, security: SecurityConfig) {
    this.#telemetry = telemetry;
    this.#security = security;
  }

  /** Rejects where the holder does not answer: it frees the KV at its deadline. */
  async release({ handoffId, holderAddress, holderTls }: KvHandoff): Promise<void> {
    if (holderAddress === '') return;
    await this.#clientOf(holderAddress, holderTls).client.releaseHandoff({ handoffId }, { timeoutMs });
  }

  close(): void {
    for (const { close } of this.#clients.values()) close();
    this.#clients.clear();
  }

  #clientOf(address: string, tls: boolean): RpcClient<typeof EngineService> {
    const key = `${tls} ${address}`;
    const known = this.#clients.get(key);
    const client = known ?? createRpcClient(EngineService, targetOf({ address, tls }, this.#security), this.#telemetry);
    this.#clients.delete(key);
    this.#clients.set(key, client);
    if (this.#clients.size > maxHolders) this.#dropOldest();
    return client;
  }

  #dropOldest(): void {
    const [oldest] = this.#clients;
    if (oldest === undefined) return;
    this.#clients.delete(oldest[0]);
    oldest[1].close();
  }
}
