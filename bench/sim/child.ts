// One replay; prints what it took as JSON.
import { defaultEngineSettings } from '#core/scheduling/engine/settings.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { routerSettings } from '#services/router/config.ts';
import { runReplay } from '#sim/replay/replay.ts';
import { ReplayRecorder } from '#sim/report/recorder.ts';
import { openTrace } from '#sim/traces/open-trace.ts';

export interface Measurement {
  /** File. */
  readonly trace: string;
  readonly workers: number;
  readonly mode: 'kv' | 'round-robin';
  readonly speedup: number;
}

/** Without the start of the process. */
export interface Measured {
  readonly seconds: number;
  /** Of all threads. */
  readonly cpuSeconds: number;
  readonly completed: number;
  readonly peakMib: number;
}

const measurement: Measurement = JSON.parse(process.argv[2] ?? '');
process.stdout.write(JSON.stringify(await measure(measurement)));

async function measure({ trace, workers, mode, speedup }: Measurement): Promise<Measured> {
  const worker = { role: 'aggregated', ranks: 1, engine: defaultEngineSettings, timing: undefined } as const;
  const observer = new ReplayRecorder();
  const before = process.cpuUsage();
  const begun = performance.now();
  await runReplay({
    trace,
    requests: openTrace(trace, { format: 'mooncake', blockTokens: 512, sharedPrefixRatio: 0, prefixGroups: 0 }),
    expectedRequests: Number.NaN,
    load: { concurrency: undefined, intervalMs: undefined, maxRequests: Number.POSITIVE_INFINITY, speedup },
    workers: Array.from({ length: workers }, () => ({ ...worker, readyAfterMs: 0 })),
    router: defaultSettings(routerSettings, { mode }),
    seed: 1,
    kvEventDelayMs: 1,
    sampleMs: 1000,
    observer,
  });
  const seconds = (performance.now() - begun) / 1000;
  const { user, system } = process.cpuUsage(before);
  const { maxRSS } = process.resourceUsage();
  const { completed } = observer.totals.outcomes;
  return { seconds, cpuSeconds: (user + system) / 1e6, completed, peakMib: maxRSS / 1024 };
}
