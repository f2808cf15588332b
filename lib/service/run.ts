import { randomBytes } from 'node:crypto';
import { Code } from '@connectrpc/connect';
import { environment } from '#lib/config/environment.ts';
import { formatHelp, formatSettings } from '#lib/config/format.ts';
import { loadWithOrigins } from '#lib/config/load.ts';
import type { SettingsOf, SettingTable } from '#lib/config/settings.ts';
import type { Discovery } from '#lib/discovery/discovery.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import { errorClasses } from '#lib/errors/codes.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { createTelemetry, type Telemetry } from '#lib/telemetry/telemetry.ts';
import type { serviceSettings } from './settings.ts';

/** What a service is given besides its configuration. */
export interface ServiceParts {
  readonly telemetry: Telemetry;
  readonly discovery: Discovery;
  /** Aborted when the process begins to stop. */
  readonly shutdown: AbortSignal;
  readonly instanceId: bigint;
}

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
  /** Name of the command, for example "router". */
  readonly name: string;
  readonly settings: T;
  readonly argv?: readonly string[];
  /** STATOR_ variables of other commands, which are no mistake here. */
  readonly foreignVariables?: ReadonlySet<string>;
  start(config: SettingsOf<T>, parts: ServiceParts): Promise<RunningService>;
}

const exitCodes = { ok: 0, failure: 1, usage: 2, internal: 70, interrupted: 130, terminated: 143 } as const;
/** Beyond the grace that running requests get, for closing sockets and flushing spans. */
const FORCED_EXIT_MS = 10_000;

export function newInstanceId(): bigint {
  return randomBytes(8).readBigUInt64LE() | 1n;
}

/** The life of a service process: configuration, telemetry, discovery, start, signal, stop. Sets the exit code. */
export async function runMain<T extends SettingTable & BaseTable>(options: MainOptions<T>): Promise<void> {
  const config = configure(options);
  if (config === undefined) return;
  const base = config as SettingsOf<BaseTable>;
  const instanceId = newInstanceId();
  const telemetry = createTelemetry({ service: options.name, instanceId, ...base });
  const stop = new AbortController();
  const signalled = stopOnSignal(stop, telemetry, base.shutdownGraceSeconds * 1000);
  let discovery: Discovery | undefined;
  try {
    discovery = await openDiscovery(base.discovery, {
      namespace: base.namespace,
      ttlSeconds: base.discoveryTtlSeconds,
      telemetry,
    });
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
    const error = StatorError.from(thrown);
    telemetry.log.fatal({ err: error.cause ?? error, code: error.code }, `${options.name}: ${error.message}`);
    process.exitCode = errorClasses[error.code].grpc === Code.InvalidArgument ? exitCodes.usage : exitCodes.failure;
  } finally {
    stop.abort();
    await discovery?.close().catch(() => {});
    await telemetry.shutdown();
    guardExit(FORCED_EXIT_MS);
  }
}

function configure<T extends SettingTable & BaseTable>(options: MainOptions<T>): SettingsOf<T> | undefined {
  const { argv = environment.argv, name, settings: table, foreignVariables } = options;
  if (argv.includes('--help') || argv.includes('-h')) {
    process.stdout.write(formatHelp(name, table));
    return undefined;
  }
  try {
    const print = argv.includes('--print-config');
    const loaded = loadWithOrigins(table, {
      argv: argv.filter((argument) => argument !== '--print-config'),
      env: environment.variables,
      ...(foreignVariables === undefined ? {} : { foreignVariables }),
    });
    const extra = loaded.positional[0];
    if (extra !== undefined) throw StatorError.invalid(extra, `Unexpected argument ${extra}.`);
    if (!print) return loaded.settings;
    process.stdout.write(formatSettings(table, loaded));
  } catch (thrown) {
    process.stderr.write(`stator ${name}: ${StatorError.from(thrown).message}\nTry: stator ${name} --help\n`);
    process.exitCode = exitCodes.usage;
  }
  return undefined;
}

/** Resolves at the first SIGINT or SIGTERM; a second one ends the process at once. */
function stopOnSignal(stop: AbortController, telemetry: Telemetry, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        const code = signal === 'SIGINT' ? exitCodes.interrupted : exitCodes.terminated;
        if (stop.signal.aborted) process.exit(code);
        telemetry.log.info({ signal }, 'stopping; the same signal again ends at once');
        guardExit(graceMs + FORCED_EXIT_MS);
        stop.abort();
        resolve();
      });
    }
  });
}

/** Ends the process even if something forgot to close a handle; does not keep it alive itself. */
function guardExit(afterMs: number): void {
  setTimeout(() => process.exit(process.exitCode ?? exitCodes.internal), afterMs).unref();
}
