import { defaultEngineSettings, type EngineSettings } from '#core/scheduling/engine/settings.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { type RouterConfig, routerSettings } from '#services/router/config.ts';
import type { WorkerSpec } from '../cluster/worker-spec.ts';
import type { TraceRequest } from '../traces/trace-request.ts';
import type { LoadOptions } from './load-driver.ts';
import { type ReplayOptions, type ReplayResult, runReplay } from './replay.ts';
import type { ClusterSample, ReplayObserver, ReplayRun, RequestRecord } from './request-record.ts';

/** Keeps everything that a replay tells. */
export class Notes implements ReplayObserver {
  readonly runs: ReplayRun[] = [];
  readonly records: RequestRecord[] = [];
  readonly errors: string[] = [];
  readonly samples: ClusterSample[] = [];
  endMs = Number.NaN;

  begin(run: ReplayRun): void {
    this.runs.push(run);
  }

  request(record: RequestRecord): void {
    this.records.push({ ...record });
  }

  error(code: string): void {
    this.errors.push(code);
  }

  sample(sample: ClusterSample): void {
    const { running, waiting, usedBlocks } = sample;
    this.samples.push({
      ...sample,
      running: running.slice(),
      waiting: waiting.slice(),
      usedBlocks: usedBlocks.slice(),
    });
  }

  end(endMs: number): void {
    this.endMs = endMs;
  }

  /** Part of the prompt tokens that were cached. */
  get hitRate(): number {
    const sum = (field: 'cachedTokens' | 'promptTokens'): number =>
      this.records.reduce((total, record) => total + record[field], 0);
    return sum('cachedTokens') / sum('promptTokens');
  }

  /** Requests in the order of sending. */
  get bySending(): RequestRecord[] {
    return this.records.toSorted((a, b) => a.index - b.index);
  }
}

export function aggregated(count: number, engine: Partial<EngineSettings> = {}): WorkerSpec[] {
  return Array.from({ length: count }, () => workerSpec('aggregated', engine));
}

export function workerSpec(role: WorkerSpec['role'], engine: Partial<EngineSettings> = {}): WorkerSpec {
  const settings = { ...defaultEngineSettings, ...engine };
  return { role, ranks: 1, engine: settings, timing: undefined, readyAfterMs: 0 };
}

export interface Replayed {
  readonly notes: Notes;
  readonly result: ReplayResult;
}

export async function replayed(
  requests: Iterable<TraceRequest>,
  workers: readonly WorkerSpec[],
  o: {
    readonly load?: Partial<LoadOptions>;
    readonly router?: Partial<RouterConfig>;
    readonly more?: Partial<ReplayOptions>;
  } = {},
): Promise<Replayed> {
  const notes = new Notes();
  const result = await runReplay({
    trace: 'test',
    requests: inTurns(requests),
    expectedRequests: Number.NaN,
    load: {
      concurrency: undefined,
      speedup: 1,
      intervalMs: undefined,
      maxRequests: Number.POSITIVE_INFINITY,
      ...o.load,
    },
    workers,
    router: defaultSettings(routerSettings, o.router),
    seed: 1,
    kvEventDelayMs: 1,
    sampleMs: 1000,
    observer: notes,
    ...o.more,
  });
  return { notes, result };
}

async function* inTurns<T>(values: Iterable<T>): AsyncGenerator<T> {
  yield* values;
}
