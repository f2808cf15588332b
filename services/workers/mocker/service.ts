import { setTimeout as delay } from 'node:timers/promises';
import { StatorError } from '#lib/errors/errors.ts';
import type { RunningService, ServiceParts } from '#lib/service/run.ts';
import { MetricsRegistry } from '#lib/telemetry/registry.ts';
import { endpointOfRank, isOpenEndpoint } from '#lib/zmq/endpoint.ts';
import { startWorker, type WorkerService } from '../common/service.ts';
import { type MockerConfig, mockerOptions } from './config.ts';
import { MockerEngine } from './engine.ts';
import type { MockerOptions } from './options.ts';
import { readTiming } from './timing-file.ts';

/** A worker whose engine is synthetic, or several in this process; the address is the first one's. */
export async function startMockerWorker(config: MockerConfig, parts: ServiceParts): Promise<RunningService> {
  const timing = config.timingProfile === undefined ? undefined : await readTiming(config.timingProfile);
  const options = mockerOptions(config, timing);
  warnOfOpenEndpoints(options, parts);
  if (config.workers === 1) return startOne(config, options, parts);
  if (config.advertise !== undefined)
    throw StatorError.invalid('advertise', 'advertise names one address, and there are several workers');
  const workers: WorkerService[] = [];
  try {
    for (let i = 0; i < config.workers; i++) {
      if (i > 0 && config.staggerMs > 0) await delay(config.staggerMs, undefined, { signal: parts.shutdown });
      const own = { ...options, zmq: zmqOf(options, i) };
      workers.push(await startOne({ ...config, listen: listenAt(config.listen, i) }, own, partsOf(parts, i)));
    }
  } catch (thrown) {
    await stopAll(workers);
    throw thrown;
  }
  const [first] = workers;
  if (first === undefined) throw new StatorError('internal', 'no worker was started');
  return {
    address: first.address,
    ended: Promise.race(workers.map(({ ended }) => ended)),
    stop: () => stopAll(workers),
  };
}

/** They are as vLLM's are: without any authentication. What they tell are the tokens of prompts. */
function warnOfOpenEndpoints({ zmq }: MockerOptions, { telemetry }: ServiceParts): void {
  for (const endpoint of [zmq?.endpoint, zmq?.replayEndpoint]) {
    if (endpoint === undefined || !isOpenEndpoint(endpoint)) continue;
    const said =
      'KV events with the tokens of prompts are open to whoever reaches this address: ZeroMQ asks for no token';
    telemetry.log.warn({ endpoint }, said);
  }
}

function startOne(config: MockerConfig, options: MockerOptions, parts: ServiceParts): Promise<WorkerService> {
  return startWorker({ kind: 'mocker', engines: [new MockerEngine(options)], config, parts });
}

async function stopAll(workers: readonly WorkerService[]): Promise<void> {
  await Promise.all(workers.map((worker) => worker.stop()));
}

/** Every worker is an instance of its own and counts for itself. */
function partsOf(parts: ServiceParts, index: number): ServiceParts {
  if (index === 0) return parts;
  const instanceId = BigInt.asUintN(64, parts.instanceId + 2n * BigInt(index));
  return { ...parts, instanceId, telemetry: { ...parts.telemetry, metrics: new MetricsRegistry() } };
}

/** Ports of the ranks of the workers before it come first. */
function zmqOf({ zmq, ranks }: MockerOptions, index: number): MockerOptions['zmq'] {
  if (zmq === undefined) return undefined;
  const { endpoint, replayEndpoint } = zmq;
  const first = index * ranks;
  return {
    endpoint: endpointOfRank(endpoint, first),
    replayEndpoint: replayEndpoint === undefined ? undefined : endpointOfRank(replayEndpoint, first),
  };
}

function listenAt(listen: string, index: number): string {
  const at = listen.lastIndexOf(':') + 1;
  const port = Number(listen.slice(at));
  return port === 0 ? listen : `${listen.slice(0, at)}${port + index}`;
}
