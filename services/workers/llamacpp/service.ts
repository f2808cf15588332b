import type { ServiceParts } from '#lib/service/run.ts';
import { startWorker, type WorkerService } from '../common/service.ts';
import { engineOptions, type LlamacppConfig } from './config.ts';
import { createEngine } from './create-engine.ts';

/** A worker with one embedded llama.cpp engine for each model. */
export async function startLlamacppWorker(config: LlamacppConfig, parts: ServiceParts): Promise<WorkerService> {
  const options = engineOptions(config);
  const engines = await Promise.all(options.map((one) => createEngine(one, parts.telemetry.log)));
  return startWorker({ kind: 'llamacpp', engines, config, parts });
}
