import { randomBytes } from 'node:crypto';
import { gatewaySettings } from '#gateway/config.ts';
import { startGateway } from '#gateway/service.ts';
import { defaultSettings, type SettingsOf, type SettingTable } from '#lib/config/settings.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import type { RunningService, ServiceParts } from '#lib/service/run.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { routerSettings } from '#services/router/config.ts';
import { startRouter } from '#services/router/service.ts';
import { tokenizerSettings } from '#services/tokenizer/config.ts';
import { startTokenizer } from '#services/tokenizer/service.ts';
import { llamacppSettings } from '#services/workers/llamacpp/config.ts';
import { startLlamacppWorker } from '#services/workers/llamacpp/service.ts';
import { mockerSettings } from '#services/workers/mocker/config.ts';
import { startMockerWorker } from '#services/workers/mocker/service.ts';
import type { Member, MemberPlan, Role } from './cluster.ts';
import type { Overrides } from './stator-process.ts';

type Start = (overrides: Overrides, parts: ServiceParts) => Promise<RunningService>;

const starts: Readonly<Record<Role, Start>> = {
  gateway: starter(gatewaySettings, startGateway),
  tokenizer: starter(tokenizerSettings, startTokenizer),
  router: starter(routerSettings, startRouter),
  llamacpp: starter(llamacppSettings, startLlamacppWorker),
  mocker: starter(mockerSettings, startMockerWorker),
};

/** Starts a service in this process, with telemetry and discovery of its own as a process would have. */
export async function startInProcess({ role, settings }: MemberPlan): Promise<Member> {
  const beganMs = performance.now();
  const telemetry = quietTelemetry();
  const shutdown = new AbortController();
  const options = { namespace: String(settings['namespace']), ttlSeconds: 10, telemetry };
  const discovery = await openDiscovery(String(settings['discovery']), options);
  const parts = { telemetry, discovery, shutdown: shutdown.signal, instanceId: randomBytes(8).readBigUInt64LE() || 1n };
  const service = await starts[role](settings, parts);
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
