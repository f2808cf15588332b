import type { Loaded } from '#lib/config/load.ts';
import type { SettingsOf, SettingTable } from '#lib/config/settings.ts';
import type { Discovery } from '#lib/discovery/discovery.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { type CommandLine, configure } from './configure.ts';
import { exitCodeOf, exitCodes } from './exit.ts';
import {
  newInstanceId,
  openConfiguredDiscovery,
  openTelemetry,
  type ProcessConfig,
  type ServiceParts,
} from './parts.ts';
import type { processSettings } from './settings.ts';
import { guardEnd, stopOnSignal } from './signals.ts';

export type { ServiceParts } from './parts.ts';

export interface RunningService {
  /** host:port on which it can be reached. */
  readonly address: string;
  /** Settles when the service ends by itself; rejects when it failed. Absent: only a signal ends it. */
  readonly ended?: Promise<void>;
  /** Drains, then ends. Idempotent. */
  stop(): Promise<void>;
}

type BaseTable = typeof processSettings;

export interface MainOptions<T extends SettingTable & BaseTable> extends CommandLine<T> {
  /** Fills in what only the running process knows. */
  complete?(config: SettingsOf<T>): Promise<SettingsOf<T>>;
  start(config: SettingsOf<T>, parts: ServiceParts, loaded: Loaded<T>): Promise<RunningService>;
}

/** The life of a service process: configuration, telemetry, discovery, start, signal, stop. Sets the exit code. */
export async function runMain<T extends SettingTable & BaseTable>(options: MainOptions<T>): Promise<void> {
  const loaded = configure(options);
  if (loaded === undefined) return;
  const stop = new AbortController();
  let signalled: Promise<number> | undefined;
  let ready = false;
  let telemetry: Telemetry | undefined;
  let discovery: Discovery | undefined;
  try {
    const config = (await options.complete?.(loaded.settings)) ?? loaded.settings;
    const base = config as ProcessConfig;
    const instanceId = newInstanceId();
    telemetry = openTelemetry(options.name, base, instanceId);
    endOnBug(telemetry);
    signalled = stopOnSignal(stop, telemetry.log, base.shutdownGraceSeconds * 1000);
    discovery = await openConfiguredDiscovery(base, telemetry);
    const service = await options.start(config, { telemetry, discovery, shutdown: stop.signal, instanceId }, loaded);
    telemetry.log.info({ address: service.address }, `${options.name} ready`);
    ready = true;
    await runUntilEnd(service, signalled, stop);
    process.exitCode = exitCodes.ok;
  } catch (thrown) {
    // Interrupted before it was ready: whatever that broke off is no failure.
    if (signalled !== undefined && !ready && stop.signal.aborted) process.exitCode = await signalled;
    else reportFailure(options.name, thrown, telemetry);
  } finally {
    stop.abort();
    await discovery?.close().catch((error: unknown) => telemetry?.log.warn({ err: error }, 'discovery did not close'));
    await telemetry?.shutdown();
    guardEnd();
  }
}

async function runUntilEnd(service: RunningService, signalled: Promise<unknown>, stop: AbortController): Promise<void> {
  try {
    await Promise.race([signalled, service.ended ?? signalled]);
  } finally {
    stop.abort();
    await service.stop();
  }
}

function reportFailure(name: string, thrown: unknown, telemetry: Telemetry | undefined): void {
  const error = StatorError.from(thrown);
  process.exitCode = exitCodeOf(error);
  if (telemetry === undefined) process.stderr.write(`stator ${name}: ${error.message}\n`);
  else telemetry.log.fatal({ code: error.code, ...causeOf(error) }, `${name}: ${error.message}`);
}

/** An error of ours says enough by its message; a stack is for bugs and for what others threw. */
function causeOf(error: StatorError): { err?: unknown } {
  if (error.cause !== undefined) return { err: error.cause };
  return error.code === 'internal' ? { err: error } : {};
}

/** What nobody caught leaves an unknown state behind: say so, flush, end with the code of a bug. */
function endOnBug(telemetry: Telemetry): void {
  process.once('uncaughtException', (error) => {
    telemetry.log.fatal({ err: error }, 'internal error');
    void telemetry.shutdown().finally(() => process.exit(exitCodes.internal));
  });
}
