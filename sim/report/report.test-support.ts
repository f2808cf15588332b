import type { ClusterSample, ReplayRun, ReplayWorker, RequestRecord } from '../replay/request-record.ts';
import { type RecorderOptions, ReplayRecorder } from './recorder.ts';

export function workerOf(name: string, role: ReplayWorker['role'] = 'aggregated'): ReplayWorker {
  return { name, role, ranks: 1, totalBlocks: 1000, blockSize: 16 };
}

export function runOf(overrides: Partial<ReplayRun> = {}): ReplayRun {
  return {
    trace: 'test.jsonl',
    time: 'virtual',
    seed: 1,
    routerMode: 'kv',
    workers: [workerOf('w0'), workerOf('w1')],
    expectedRequests: Number.NaN,
    ...overrides,
  };
}

/** A completed request of 100 prompt and 11 output tokens that arrives every 10 ms: first token after 50, then one every 5 ms. */
export function recordOf(index: number, overrides: Partial<RequestRecord> = {}): RequestRecord {
  const arrivalMs = index * 10;
  return {
    index,
    arrivalMs,
    routedMs: arrivalMs + 1,
    startedMs: arrivalMs + 3,
    firstTokenMs: arrivalMs + 50,
    lastTokenMs: arrivalMs + 100,
    longestGapMs: 9,
    promptTokens: 100,
    cachedTokens: 40,
    outputTokens: 11,
    worker: index % 2,
    prefillWorker: index % 2,
    preemptions: 0,
    outcome: 0,
    ...overrides,
  };
}

export function sampleOf(atMs: number, overrides: Partial<ClusterSample> = {}): ClusterSample {
  return {
    atMs,
    queued: 2,
    inFlight: 6,
    finished: 0,
    promptTokens: 0,
    cachedTokens: 0,
    outputTokens: 0,
    running: Float64Array.of(3, 1),
    waiting: Float64Array.of(0, 0),
    usedBlocks: Float64Array.of(500, 250),
    ...overrides,
  };
}

/** A recording of some requests, with a sample every 10 ms. */
export function recordingOf(
  records: readonly RequestRecord[],
  options: RecorderOptions & { readonly run?: ReplayRun } = {},
): ReplayRecorder {
  const recorder = new ReplayRecorder(options);
  recorder.begin(options.run ?? runOf());
  for (const record of records) recorder.request(record);
  const endMs = Math.max(0, ...records.map(({ lastTokenMs }) => lastTokenMs));
  for (let atMs = 0; atMs <= endMs; atMs += 10) recorder.sample(sampleOf(atMs));
  recorder.end(endMs);
  return recorder;
}
