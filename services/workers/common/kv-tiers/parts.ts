import type { Discovery } from '#lib/discovery/discovery.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { SecurityConfig } from '#lib/service/security.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import type { Engine } from '../engine.ts';
import type { EngineKv } from '../engine-kv.ts';
import { discoveredKvbm, fixedKvbm } from './locate.ts';
import type { KvTierConfig } from './settings.ts';
import { KvTiers } from './tiered-engine.ts';

export interface KvTierPartsOptions {
  readonly config: KvTierConfig & SecurityConfig;
  readonly instanceId: bigint;
  readonly name: string;
  readonly telemetry: Telemetry;
  readonly discovery: Discovery;
  readonly onState: (problem: string | null) => void;
}

/** The tiers of an engine; undefined where the settings want none. */
export function kvTiersOf(engine: Engine, options: KvTierPartsOptions): KvTiers | undefined {
  const { config, discovery, ...rest } = options;
  if (config.kvbm === 'off') return undefined;
  return new KvTiers({
    ...rest,
    config,
    kv: lateKv(engine),
    prompts: () => engine.prompts,
    cacheBlocks: () => Number(engine.card.limits?.kvBlocks ?? 0n),
    locator: config.kvbm === 'auto' ? discoveredKvbm(discovery, config) : fixedKvbm(config.kvbm, config),
    memory: hostMemory,
  });
}

/** What an engine's KV will be once it has started. */
function lateKv(engine: Engine): EngineKv {
  const kv = (): EngineKv => {
    if (engine.kv === undefined) throw new StatorError('not_ready', 'the engine has not started');
    return engine.kv;
  };
  return {
    get format() {
      return kv().format;
    },
    adapterDigest: (name) => kv().adapterDigest(name),
    cachedBlocks: (prefix) => kv().cachedBlocks(prefix),
    exportBlocks: (...order) => kv().exportBlocks(...order),
    importBlocks: (...order) => kv().importBlocks(...order),
  };
}
