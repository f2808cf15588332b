import { setTimeout as delay } from 'node:timers/promises';
import type { SettingsOf } from '#lib/config/settings.ts';
import { type SecurityConfig, serverTls } from '#lib/service/security.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { transferMetrics } from '#lib/transfer/metrics.ts';
import type { Engine } from '../engine.ts';
import { HandoffAgents } from './agents.ts';
import { HandingEngine } from './handing-engine.ts';
import { HandoffSource } from './handoff-source.ts';
import { Holders } from './holders.ts';
import { MemoryPool } from './memory-pool.ts';
import { type HandoffMetrics, handoffMetrics } from './metrics.ts';
import type { handoffSettings } from './settings.ts';
import { Staging } from './staging.ts';

export interface HandoffPartsOptions {
  readonly config: SettingsOf<typeof handoffSettings> &
    SecurityConfig & { readonly listen: string; readonly advertise: string | undefined };
  readonly instanceId: bigint;
  readonly telemetry: Telemetry;
  /** Where the worker answers ReleaseHandoff; asked once it listens. */
  readonly address: () => string;
}

/** One engine's part in handing KV over. */
export interface EngineHandoffs {
  /** Takes what others computed. */
  readonly source: HandoffSource;
  /** Puts an engine that asks the source into one that also hands over. */
  wrap(admitting: Engine): Engine;
}

/** Part of the memory for handoffs that may wait for the next one. */
const idlePart = 4;

/** What the engines of a worker share to hand KV over and to take it. */
export class HandoffParts {
  readonly #o: HandoffPartsOptions;
  readonly #agents: HandoffAgents;
  readonly #holders: Holders;
  readonly #pool: MemoryPool;
  readonly #opened: { readonly source: HandoffSource; readonly staging: Staging }[] = [];

  /** Throws `invalid_argument` for a bad setting. */
  constructor(options: HandoffPartsOptions) {
    const { config, telemetry, instanceId } = options;
    this.#o = options;
    this.#agents = new HandoffAgents({
      backends: config.handoffBackends,
      name: `worker-${instanceId.toString(16)}`,
      listen: config.listen,
      advertise: config.advertise,
      tls: serverTls(config).tls,
      secret: config.internalToken,
      nixlLibrary: config.nixlLibrary,
      log: telemetry.log,
      metrics: transferMetrics(telemetry.metrics),
    });
    this.#holders = new Holders(telemetry, config);
    this.#pool = new MemoryPool((config.handoffMemoryMib * 1024 * 1024) / idlePart);
  }

  forEngine(engine: Engine): EngineHandoffs {
    const { config, telemetry, address } = this.#o;
    const agents = this.#agents;
    const maxBytes = config.handoffMemoryMib * 1024 * 1024;
    const ttlMs = config.handoffTtlSeconds * 1000;
    const { log } = telemetry;
    let opened: HandoffMetrics | undefined;
    const metrics = (): HandoffMetrics | undefined => opened;
    const pool = this.#pool;
    const staging = new Staging({ agents, maxBytes, pool, ttlMs, log, metrics });
    const source = new HandoffSource({
      kv: () => engine.kv,
      agents,
      holders: this.#holders,
      maxBytes,
      pool,
      log,
      metrics,
    });
    this.#opened.push({ source, staging });
    const onStarted = (): void => {
      opened = handoffMetrics(telemetry.metrics, engine.card.name, {
        staged: () => staging.size,
        stagedBytes: () => staging.bytes,
        pullingBytes: () => source.pullingBytes,
        idleBytes: () => pool.idleBytes,
      });
    };
    const holder = () => ({ address: address(), tls: config.tlsCert !== undefined });
    return { source, wrap: (inner) => new HandingEngine(inner, { staging, holder, ttlMs, log, metrics, onStarted }) };
  }

  /** Resolves when nobody has KV to fetch here any more, or after so many milliseconds. */
  async fetched(mostMs: number): Promise<void> {
    const endMs = performance.now() + mostMs;
    while (this.#opened.some(({ staging }) => staging.size > 0) && performance.now() < endMs) await delay(10);
  }

  /** After the engines have stopped. Idempotent. */
  async close(): Promise<void> {
    await Promise.all(this.#opened.splice(0).flatMap(({ source, staging }) => [source.close(), staging.close()]));
    this.#holders.close();
    this.#pool.close();
    await this.#agents.close();
  }
}
