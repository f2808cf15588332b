import { availableParallelism } from 'node:os';
import { extname, join } from 'node:path';
import { environment } from '#lib/config/environment.ts';
import type { SettingsOf } from '#lib/config/settings.ts';
import type { ResolvedModel } from '../models/ensure.ts';
import type { upSettings } from './settings.ts';

export type UpConfig = SettingsOf<typeof upSettings>;

/** What a worker does of a request. */
type WorkerRole = 'aggregated' | 'prefill' | 'decode';

export interface WorkerPlan {
  readonly config: UpConfig;
  readonly role: WorkerRole;
  readonly models: readonly ResolvedModel[];
  /** YAML file of this run, which the workers read too. */
  readonly file: string | undefined;
  /** What the user gave after `--`. */
  readonly extra: readonly string[];
}

/** Program and arguments of a worker: this Node, this command, `worker ENGINE`. */
export function workerCommand(plan: WorkerPlan): [string, ...string[]] {
  const { config, role, file, extra } = plan;
  const main = join(import.meta.dirname, '..', `main${extname(import.meta.filename)}`);
  const settings = {
    listen: '127.0.0.1:0',
    discovery: config.discovery,
    namespace: config.namespace,
    'discovery-ttl-seconds': config.discoveryTtlSeconds,
    'shutdown-grace-seconds': config.shutdownGraceSeconds,
    'log-level': config.logLevel,
    'log-format': 'json',
    ...(config.otlpEndpoint === undefined ? {} : { 'otlp-endpoint': config.otlpEndpoint }),
    ...(file === undefined ? {} : { config: file }),
    ...(role === 'aggregated' ? {} : { role }),
    ...modelFlags(plan),
    ...threadFlags(config),
  };
  const flags = Object.entries(settings).map(([name, value]) => `--${name}=${value}`);
  return [process.execPath, ...process.execArgv, main, 'worker', config.engine, ...flags, ...extra];
}

/** The roles of a run's workers, in their order. */
export function workerRoles({ replicas, prefillReplicas }: UpConfig): WorkerRole[] {
  const serving = Array.from({ length: replicas }, (): WorkerRole => (prefillReplicas === 0 ? 'aggregated' : 'decode'));
  return [...serving, ...Array.from({ length: prefillReplicas }, (): WorkerRole => 'prefill')];
}

/** Secrets travel by variables: arguments can be read by every user of the machine. */
export function workerEnvironment({ etcdUsername, etcdPassword }: UpConfig): Record<string, string | undefined> {
  return {
    ...environment.variables,
    ...(etcdUsername === undefined ? {} : { STATOR_ETCD_USERNAME: etcdUsername }),
    ...(etcdPassword === undefined ? {} : { STATOR_ETCD_PASSWORD: etcdPassword }),
  };
}

function modelFlags({ config, models }: WorkerPlan): Record<string, string> {
  if (config.engine === 'mocker') {
    const name = config.modelName[0] ?? config.model[0];
    return name === undefined ? {} : { model: name };
  }
  const names = models.map(({ name }, index) => config.modelName[index] ?? name);
  return { model: models.map(({ path }) => path).join(','), 'model-name': names.join(',') };
}

/** Compute threads spin while they wait, so replicas on one machine share its cores out. */
function threadFlags({ engine, replicas, prefillReplicas }: UpConfig): Record<string, number> {
  const workers = replicas + prefillReplicas;
  if (engine !== 'llamacpp' || workers === 1) return {};
  return { threads: Math.max(1, Math.floor(availableParallelism() / 2 / workers)) };
}
