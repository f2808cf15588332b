import type { ServiceParts } from '#lib/service/run.ts';
import { startWorker, type WorkerService } from '../common/service.ts';
import { type MockerConfig, mockerOptions } from './config.ts';
import { MockerEngine } from './engine.ts';

/** A worker whose engine is synthetic. */
export function startMockerWorker(config: MockerConfig, parts: ServiceParts): Promise<WorkerService> {
  return startWorker({ kind: 'mocker', engines: [new MockerEngine(mockerOptions(config))], config, parts });
}
