// One replay; prints what it took as JSON.
import { defaultEngineSettings } from '#core/scheduling/engine/settings.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { routerSettings } from '#services/router/config.ts';
import { runReplay } from '../../sim/replay/replay.ts';
import { ReplayRecorder } from '../../sim/report/recorder.ts';
import { generateMooncakeLike } from '../../sim/traces/mooncake-like.ts';
import type { TraceRequest } from '../../sim/traces/trace-request.ts';

export interface Measurement {
  readonly workers: number;
  readonly requests: number;
  readonly mode: 'kv' | 'round-robin';
  readonly speedup: number;
}

export interface Measured {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly passes: number;
  readonly peakMib: number;
}

const measurement: Measurement = JSON.parse(process.argv[2] ?? '');
process.stdout.write(JSON.stringify(await measure(measurement)));

async function measure({ workers, requests, mode, speedup }: Measurement): Promise<Measured> {
  const worker = { role: 'aggregated', ranks: 1, engine: defaultEngineSettings, timing: undefined } as const;
  const begun = performance.now();
  const { passes } = await runReplay({
    trace: 'Mooncake-like',
    requests: trace(requests),
    expectedRequests: requests,
    load: { concurrency: undefined, intervalMs: undefined, maxRequests: requests, speedup },
    workers: Array.from({ length: workers }, () => ({ ...worker, readyAfterMs: 0 })),
    router: defaultSettings(routerSettings, { mode }),
    seed: 1,
    kvEventDelayMs: 1,
    sampleMs: 1000,
    observer: new ReplayRecorder(),
  });
  const { user, system } = process.cpuUsage();
  const { maxRSS } = process.resourceUsage();
  return {
    seconds: (performance.now() - begun) / 1000,
    cpuSeconds: (user + system) / 1e6,
    passes,
    peakMib: maxRSS / 1024,
  };
}

async function* trace(requests: number): AsyncGenerator<TraceRequest> {
  yield* generateMooncakeLike({ requests, seed: 1 });
}
