import { existsSync, statfsSync } from 'node:fs';
import { extname, join } from 'node:path';
import type { Logger } from 'pino';
import { runDirectory } from './run-directory.ts';
import { type UpConfig, workerEnvironment } from './worker-command.ts';
import { WorkerProcess } from './worker-process.ts';

const mebibyte = 2 ** 20;
const sharedMemory = '/dev/shm';

/** The KV block manager of a run as a child; undefined where none is wanted. Without it workers compute everything themselves. */
export function startKvbmProcess(
  config: UpConfig,
  o: { readonly file: string | undefined; readonly models: number; readonly log: Logger },
): WorkerProcess | undefined {
  const { file, models, log } = o;
  const hostMib = affordable(config.kvbmHostMib);
  if (hostMib === 0) return undefined;
  const kvbm = new WorkerProcess({
    name: 'kvbm',
    command: kvbmCommand(config, { hostMib, file, models }),
    env: workerEnvironment(config),
    logFile: join(runDirectory(), 'kvbm.log'),
    log: log.child({ service: 'kvbm' }),
    maxRestarts: config.maxRestarts,
  });
  kvbm.givenUp.catch((error: unknown) => log.warn({ err: error }, 'no KV is kept beyond the engines'));
  return kvbm;
}

/** A second `stator up` has another port, and so another directory. */
function kvbmCommand(
  config: UpConfig,
  { hostMib, file, models }: { readonly hostMib: number; readonly file: string | undefined; readonly models: number },
): [string, ...string[]] {
  const main = join(import.meta.dirname, '..', `main${extname(import.meta.filename)}`);
  const settings = {
    listen: '127.0.0.1:0',
    name: `up-${config.port === 0 ? process.pid : config.port}`,
    'host-mib': hostMib,
    // Models of different shapes must not depend on which of them was first.
    'layout-host-mib': Math.max(1, Math.floor(hostMib / Math.max(1, models))),
    discard: true,
    // One machine, one block manager.
    peers: false,
    discovery: config.discovery,
    namespace: config.namespace,
    'discovery-ttl-seconds': config.discoveryTtlSeconds,
    'shutdown-grace-seconds': 1,
    'log-level': config.logLevel,
    'log-format': 'json',
    ...(config.otlpEndpoint === undefined ? {} : { 'otlp-endpoint': config.otlpEndpoint }),
    ...(file === undefined ? {} : { config: file }),
  };
  const flags = Object.entries(settings).map(([name, value]) => `--${name}=${value}`);
  return [process.execPath, ...process.execArgv, main, 'kvbm', ...flags];
}

/** At most half of the shared memory that is free: containers have little of it. */
function affordable(wantedMib: number): number {
  if (!existsSync(sharedMemory)) return wantedMib;
  const { bavail, bsize } = statfsSync(sharedMemory);
  return Math.min(wantedMib, Math.floor((bavail * bsize) / 2 / mebibyte));
}
