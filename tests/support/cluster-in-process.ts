import { randomBytes } from 'node:crypto';
import { defaultSettings, type SettingsOf, type SettingTable } from '#lib/config/settings.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import type { RunningService, ServiceParts } from '#lib/service/run.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import type { Member, MemberPlan, Role } from './cluster.ts';
import type { Overrides } from './stator-process.ts';

type Start = (overrides: Overrides, parts: ServiceParts) => Promise<RunningService>;

/** Loaded only when a cluster has them: a suite without llama.cpp needs no llama.cpp. */
const starts: Readonly<Record<Role, () => Promise<Start>>> = {
  gateway: async () =>
    starter((await import('#gateway/config.ts')).gatewaySettings, (await import('#gateway/service.ts')).startGateway),
  tokenizer: async () =>
    starter(
      (await import('#services/tokenizer/config.ts')).tokenizerSettings,
      (await import('#services/tokenizer/service.ts')).startTokenizer,
    ),
  router: async () =>
    starter(
      (await import('#services/router/config.ts')).routerSettings,
      (await import('#services/router/service.ts')).startRouter,
    ),
  llamacpp: async () =>
    starter(
      (await import('#services/workers/llamacpp/config.ts')).llamacppSettings,
      (await import('#services/workers/llamacpp/service.ts')).startLlamacppWorker,
    ),
  mocker: async () =>
    starter(
      (await import('#services/workers/mocker/config.ts')).mockerSettings,
      (await import('#services/workers/mocker/service.ts')).startMockerWorker,
    ),
};

/** Starts a service in this process, with telemetry and discovery of its own as a process would have. */
export async function startInProcess({ role, settings }: MemberPlan): Promise<Member> {
  const beganMs = performance.now();
  const telemetry = quietTelemetry();
  const shutdown = new AbortController();
  const options = { namespace: String(settings['namespace']), ttlSeconds: 10, telemetry };
  const discovery = await openDiscovery(String(settings['discovery']), options);
  const parts = { telemetry, discovery, shutdown: shutdown.signal, instanceId: randomBytes(8).readBigUInt64LE() || 1n };
  const start = await starts[role]();
  const service = await start(settings, parts);
  const stop = async (): Promise<void> => {
    shutdown.abort();
    await service.stop();
    await discovery.close();
    await telemetry.shutdown();
  };
  const startMs = performance.now() - beganMs;
  return { role, address: service.address, pid: undefined, startMs, output: () => '', stop, kill: stop };
}

function starter<T extends SettingTable>(
  table: T,
  start: (config: SettingsOf<T>, parts: ServiceParts) => Promise<RunningService>,
): Start {
  return (overrides, parts) => {
    const unknown = Object.keys(overrides).find((name) => !Object.hasOwn(table, name));
    if (unknown !== undefined) throw new Error(`There is no setting ${unknown}`);
    return start(defaultSettings(table, overrides as Partial<SettingsOf<T>>), parts);
  };
}
