import type { SettingTable } from '#lib/config/settings.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { runOnlineReplay } from '#sim/online/online-replay.ts';
import { runReplay } from '#sim/replay/replay.ts';
import { buildReport } from '#sim/report/build-report.ts';
import { ReplayRecorder } from '#sim/report/recorder.ts';
import type { ReplayReport } from '#sim/report/report.ts';
import { routerConfigOf, workersOf } from './deployment.ts';
import type { ReplaySettings } from './settings.ts';
import type { Workload } from './workload.ts';

/**
 * Samples of the cluster's state in a virtual replay lie so far apart. A prime: traces send at round times, and samples that
 * fall on those would only see what has just arrived.
 */
const sampleMs = 211;

export interface RunOptions {
  readonly workload: Workload;
  readonly settings: ReplaySettings;
  /** Settings that the report names. */
  readonly told: ReplayReport['run']['settings'];
  readonly signal: AbortSignal;
  onProgress(progress: { readonly finished: number; readonly inFlight: number }): void;
}

/** Replays once, in virtual or in real time. An interrupted replay is reported as far as it came. */
export async function runOnce(options: RunOptions): Promise<ReplayReport> {
  const { slaTtftMs: ttftMs, slaItlMs: itlMs, slaE2eMs: e2eMs, online } = options.settings;
  const recorder = new ReplayRecorder({ levels: { ttftMs, itlMs, e2eMs } });
  const partial = online === undefined ? await simulate(options, recorder) : await play(options, online, recorder);
  return buildReport(recorder, { settings: options.told, partial });
}

async function simulate(
  { workload, settings, signal, onProgress }: RunOptions,
  observer: ReplayRecorder,
): Promise<boolean> {
  const { name: trace, expectedRequests, load } = workload;
  const { seed, kvEventDelayMs, frontendMs, frontendUsPerToken } = settings;
  const frontend = { ms: frontendMs, msPerToken: frontendUsPerToken / 1000 };
  const workers = await workersOf(settings);
  const router = routerConfigOf(settings);
  try {
    await runReplay({
      ...{ trace, requests: workload.open(), expectedRequests, load, workers, router, seed, kvEventDelayMs },
      ...{ frontend, sampleMs, observer, onProgress, signal },
    });
    return false;
  } catch (thrown) {
    if (signal.aborted && observer.interrupt()) return true;
    throw thrown;
  }
}

async function play(
  { workload, settings, signal, onProgress }: RunOptions,
  url: string,
  observer: ReplayRecorder,
): Promise<boolean> {
  const { name: trace, expectedRequests, load } = workload;
  const { seed, apiKey, model, maxConnections, requestTimeoutSeconds } = settings;
  const { partial } = await runOnlineReplay({
    ...{ trace, requests: workload.open(), expectedRequests, load, seed, observer, onProgress, signal },
    gateway: { url, apiKey, model, maxConnections, timeoutMs: requestTimeoutSeconds * 1000 },
    vocabulary: vocabularyOf(settings.promptTokenIds),
  });
  return partial;
}

function vocabularyOf(text: string): { readonly lowest: number; readonly count: number } {
  const [, first, last] = /^(\d{1,9})-(\d{1,9})$/.exec(text) ?? [];
  const count = Number(last) - Number(first) + 1;
  if (first === undefined || !(count > 0))
    throw StatorError.invalid('--prompt-token-ids', `--prompt-token-ids: ${JSON.stringify(text)} is not FIRST-LAST.`);
  return { lowest: Number(first), count };
}

/** Settings whose value is no secret and says something about the replay. */
export function toldSettings(
  table: SettingTable,
  settings: Readonly<Record<string, unknown>>,
  hidden: ReadonlySet<string>,
): ReplayReport['run']['settings'] {
  const told: ReplayReport['run']['settings'] = {};
  for (const [name, entry] of Object.entries(table)) {
    const value = settings[name];
    if (entry.secret || hidden.has(name) || value === undefined || same(value, entry.default)) continue;
    told[name] = typeof value === 'number' || typeof value === 'boolean' ? value : String(value);
  }
  return told;
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
