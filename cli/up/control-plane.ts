import { gatewaySettings } from '#gateway/config.ts';
import { startGateway } from '#gateway/service.ts';
import { environment } from '#lib/config/environment.ts';
import { loadSettings } from '#lib/config/load.ts';
import type { SettingsOf, SettingTable } from '#lib/config/settings.ts';
import { newInstanceId, openConfiguredDiscovery, openTelemetry, type ProcessConfig } from '#lib/service/parts.ts';
import type { RunningService, ServiceParts } from '#lib/service/run.ts';
import { processSettings } from '#lib/service/settings.ts';
import { routerSettings } from '#services/router/config.ts';
import { startRouter } from '#services/router/service.ts';
import { tokenizerSettings } from '#services/tokenizer/config.ts';
import { startTokenizer } from '#services/tokenizer/service.ts';
import { storeOf } from './store.ts';
import type { UpConfig } from './worker-command.ts';

/** Gateway, tokenizer and router in this process; each also listens on an address of its own. */
export interface ControlPlane {
  /** host:port of the gateway. */
  readonly address: string;
  /** The gateway drains first: requests that still run need the others. */
  stop(): Promise<void>;
}

export interface ControlPlaneOptions {
  readonly config: UpConfig;
  /** YAML file of this run, in which services find their settings too. */
  readonly file: string | undefined;
  readonly shutdown: AbortSignal;
}

export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const { host, port } = options.config;
  const running: (() => Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    for (const stopOne of running.splice(0).reverse()) await stopOne();
  };
  const run = async <T extends SettingTable, S extends RunningService>(
    name: string,
    table: T,
    listen: string,
    start: (config: SettingsOf<T>, parts: ServiceParts) => Promise<S>,
  ): Promise<S> => {
    const settings = { ...loadService(table, options), ...shared(options.config), listen };
    const { parts, close } = await openParts(name, settings as unknown as ProcessConfig, options.shutdown);
    running.push(close);
    const service = await start(settings, parts);
    running.push(() => service.stop());
    return service;
  };
  try {
    const [tokenizer, router] = await Promise.all([
      run('tokenizer', tokenizerSettings, '127.0.0.1:0', startTokenizer),
      run('router', routerSettings, '127.0.0.1:0', startRouter),
    ]);
    const overrides = { tokenizer: tokenizer.client, router: router.client };
    const gateway = await run('gateway', gatewaySettings, listenAddress(host, port), (config, parts) =>
      startGateway({ ...config, store: storeOf(options.config) }, parts, overrides),
    );
    return { address: gateway.address, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function loadService<T extends SettingTable>(table: T, { file }: ControlPlaneOptions): SettingsOf<T> {
  return loadSettings(table, { argv: [], env: environment.variables, ...(file === undefined ? {} : { file }) });
}

/** What holds for all services of this run. */
function shared(config: UpConfig): Partial<ProcessConfig> {
  const names = Object.keys(processSettings) as (keyof ProcessConfig)[];
  return Object.fromEntries(names.map((name) => [name, config[name]]));
}

async function openParts(
  name: string,
  config: ProcessConfig,
  shutdown: AbortSignal,
): Promise<{ parts: ServiceParts; close: () => Promise<void> }> {
  const instanceId = newInstanceId();
  const telemetry = openTelemetry(name, config, instanceId);
  const discovery = await openConfiguredDiscovery(config, telemetry);
  const close = async (): Promise<void> => {
    await discovery.close();
    await telemetry.shutdown();
  };
  return { parts: { telemetry, discovery, shutdown, instanceId }, close };
}

function listenAddress(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
