import { environment } from '#lib/config/environment.ts';
import { formatHelp, formatSettings } from '#lib/config/format.ts';
import { loadWithOrigins } from '#lib/config/load.ts';
import type { SettingsOf, SettingTable } from '#lib/config/settings.ts';
import type { Discovery } from '#lib/discovery/discovery.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { exitCodeOf, exitCodes } from './exit.ts';
import {
  newInstanceId,
  openConfiguredDiscovery,
  openTelemetry,
  type ServiceConfig,
  type ServiceParts,
} from './parts.ts';
import type { serviceSettings } from './settings.ts';
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

type BaseTable = typeof serviceSettings;

export interface MainOptions<T extends SettingTable & BaseTable> {
  /** Name of the command, for example "router" or "worker llamacpp". */
  readonly name: string;
  readonly settings: T;
  /** Arguments after the command's name; default: those of the process. */
  readonly argv?: readonly string[];
  start(config: SettingsOf<T>, parts: ServiceParts): Promise<RunningService>;
}

/** The life of a service process: configuration, telemetry, discovery, start, signal, stop. Sets the exit code. */
export async function runMain<T extends SettingTable & BaseTable>(options: MainOptions<T>): Promise<void> {
  const config = configure(options.name, options.settings, options.argv ?? environment.argv);
  if (config === undefined) return;
  const base = config as ServiceConfig;
  const stop = new AbortController();
  let telemetry: Telemetry | undefined;
  let discovery: Discovery | undefined;
  try {
    const instanceId = newInstanceId();
    telemetry = openTelemetry(options.name, base, instanceId);
    endOnBug(telemetry);
    const signalled = stopOnSignal(stop, telemetry.log, base.shutdownGraceSeconds * 1000);
    discovery = await openConfiguredDiscovery(base, telemetry);
    const service = await options.start(config, { telemetry, discovery, shutdown: stop.signal, instanceId });
    telemetry.log.info({ address: service.address }, `${options.name} ready`);
    try {
      await Promise.race([signalled, service.ended ?? signalled]);
    } finally {
      stop.abort();
      await service.stop();
    }
    process.exitCode = exitCodes.ok;
  } catch (thrown) {
    reportFailure(options.name, thrown, telemetry);
  } finally {
    stop.abort();
    await discovery?.close().catch((error: unknown) => telemetry?.log.warn({ err: error }, 'discovery did not close'));
    await telemetry?.shutdown();
    guardEnd();
  }
}

/** Settings from the sources, or undefined where --help, --print-config or an error was printed instead. */
export function configure<T extends SettingTable>(
  name: string,
  table: T,
  argv: readonly string[],
): SettingsOf<T> | undefined {
  const own = argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv;
  if (own.includes('--help') || own.includes('-h')) {
    process.stdout.write(formatHelp(name, table));
    return undefined;
  }
  try {
    const print = own.includes('--print-config');
    const rest = argv.filter((argument) => argument !== '--print-config');
    const loaded = loadWithOrigins(table, { argv: rest, env: environment.variables });
    const extra = loaded.positional[0];
    if (extra !== undefined) throw StatorError.invalid(extra, `Unexpected argument ${extra}.`);
    if (!print) return loaded.settings;
    process.stdout.write(formatSettings(table, loaded));
  } catch (thrown) {
    const error = StatorError.from(thrown);
    process.stderr.write(`stator ${name}: ${error.message}\nTry: stator ${name} --help\n`);
    process.exitCode = exitCodeOf(error);
  }
  return undefined;
}

function reportFailure(name: string, thrown: unknown, telemetry: Telemetry | undefined): void {
  const error = StatorError.from(thrown);
  process.exitCode = exitCodeOf(error);
  if (telemetry === undefined) process.stderr.write(`stator ${name}: ${error.message}\n`);
  else telemetry.log.fatal({ err: error.cause ?? error, code: error.code }, `${name}: ${error.message}`);
}

/** What nobody caught leaves an unknown state behind: say so, flush, end with the code of a bug. */
function endOnBug(telemetry: Telemetry): void {
  process.once('uncaughtException', (error) => {
    telemetry.log.fatal({ err: error }, 'internal error');
    void telemetry.shutdown().finally(() => process.exit(exitCodes.internal));
  });
}
