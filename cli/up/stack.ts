import { join } from 'node:path';
import { Counter } from 'prom-client';
import type { ServiceParts } from '#lib/service/run.ts';
import { ensureModels, type ResolvedModel } from '../models/ensure.ts';
import { showModelProgress } from '../ui/model-progress.ts';
import type { Progress } from '../ui/progress.ts';
import { ensureAddons } from './addons.ts';
import { type ControlPlane, startControlPlane } from './control-plane.ts';
import { startKvbmProcess } from './kvbm-process.ts';
import { requireFreePort } from './port.ts';
import { modelsListed } from './ready.ts';
import { runDirectory } from './run-directory.ts';
import { type UpConfig, workerCommand, workerEnvironment, workerRoles } from './worker-command.ts';
import { WorkerProcess } from './worker-process.ts';

/** Beyond the grace that running requests get, before a worker that does not end is killed. */
const KILL_AFTER_MS = 5000;

export interface StackOptions {
  readonly config: UpConfig;
  readonly parts: ServiceParts;
  readonly file: string | undefined;
  /** Arguments for the workers. */
  readonly extra: readonly string[];
  readonly progress: Progress;
}

/** Everything of one `stator up`: control plane in this process, workers and KV block manager as its children. */
export interface Stack {
  readonly address: string;
  readonly models: readonly string[];
  /** Rejects when every worker is given up. */
  readonly ended: Promise<void>;
  stop(): Promise<void>;
}

export async function startStack(options: StackOptions): Promise<Stack> {
  const { config, parts, progress } = options;
  await requireFreePort(config.host, config.port);
  const [models] = await Promise.all([fetchModels(options), buildAddons(options)]);
  const workers = startWorkers(options, models);
  const kvbm = startKvbmProcess(config, { file: options.file, models: models.length, log: parts.telemetry.log });
  const ended = Promise.allSettled(workers.map(({ givenUp }) => givenUp)).then(() => firstFailure(workers));
  ended.catch(() => {});
  let control: ControlPlane | undefined;
  const stop = async (): Promise<void> => {
    await control?.stop();
    const graceMs = config.shutdownGraceSeconds * 1000 + KILL_AFTER_MS;
    await Promise.all(workers.map((worker) => worker.stop(graceMs)));
    await kvbm?.stop(KILL_AFTER_MS);
  };
  try {
    const { shutdown } = parts;
    control = await startControlPlane({ config, file: options.file, shutdown });
    progress.say(`gateway, tokenizer and router are up (${progress.elapsed}); loading the model …`);
    const waiting = modelsListed(`http://${control.address}`, Math.max(1, models.length), shutdown);
    const names = await Promise.race([waiting, ...workers.map(({ givenUp }) => givenUp)]);
    for (const worker of workers) worker.markReady();
    kvbm?.markReady();
    return { address: control.address, models: names, ended, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function fetchModels({ config, parts, progress }: StackOptions): Promise<ResolvedModel[]> {
  if (config.engine !== 'llamacpp') return [];
  const options = { onProgress: showModelProgress(progress), signal: parts.shutdown };
  const models: ResolvedModel[] = [];
  for (const reference of config.model.length === 0 ? [''] : config.model) {
    models.push(...(await ensureModels(reference, options)));
  }
  progress.endTransfer();
  return models;
}

async function buildAddons({ config, parts, progress }: StackOptions): Promise<void> {
  const names = ['tokens', 'kvindex', 'hostmem', ...(config.engine === 'llamacpp' ? ['llamacpp'] : [])];
  await ensureAddons(names, (line) => progress.say(line), parts.shutdown);
}

function startWorkers(options: StackOptions, models: readonly ResolvedModel[]): WorkerProcess[] {
  const { config, parts, file, extra } = options;
  const restarts = new Counter({
    name: 'stator_up_worker_restarts_total',
    help: 'Workers that crashed and were started again.',
    registers: [parts.telemetry.metrics],
  });
  return workerRoles(config).map((role, index) => {
    const name = role === 'prefill' ? `prefill-${index - config.replicas}` : `worker-${index}`;
    return new WorkerProcess({
      name,
      command: workerCommand({ config, role, models, file, extra }),
      env: workerEnvironment(config),
      logFile: join(runDirectory(), `${name}.log`),
      log: parts.telemetry.log.child({ worker: name }),
      maxRestarts: config.maxRestarts,
      onRestart: () => restarts.inc(),
    });
  });
}

/** The report of a worker; only called when all of them are given up. */
function firstFailure(workers: readonly WorkerProcess[]): Promise<void> {
  return Promise.race(workers.map(({ givenUp }) => givenUp));
}
