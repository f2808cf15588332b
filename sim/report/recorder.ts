import { seeded } from '../random.ts';
import { RequestColumns } from '../replay/request-columns.ts';
import {
  type ClusterSample,
  outcomes,
  type ReplayObserver,
  type ReplayRun,
  type ReplayWorker,
  type RequestRecord,
} from '../replay/request-record.ts';
import {
  Extent,
  keepsLevels,
  type RequestMetric,
  requestMetricNames,
  requestMetrics,
  type ServiceLevels,
} from './metrics.ts';
import { SampleColumns } from './sample-columns.ts';

/** What was counted for one worker. */
export interface WorkerTotals {
  requests: number;
  promptTokens: number;
  cachedTokens: number;
  outputTokens: number;
  preemptions: number;
}

/** Exact sums over all requests. */
export interface Totals {
  readonly outcomes: Record<(typeof outcomes)[number], number>;
  readonly metrics: Readonly<Record<RequestMetric, Extent>>;
  readonly workers: WorkerTotals[];
  promptTokens: number;
  cachedTokens: number;
  /** NaN once a worker with an unknown block size has served a request. */
  promptBlocks: number;
  cachedBlocks: number;
  outputTokens: number;
  goodRequests: number;
  goodOutputTokens: number;
  preemptions: number;
  firstArrivalMs: number;
}

export interface RecorderOptions {
  readonly levels?: ServiceLevels;
  /** Requests that percentiles are computed of; of more an even sample is kept. */
  readonly maxRecords?: number;
}

/** Listens to a replay and keeps what its report needs, in bounded memory. */
export class ReplayRecorder implements ReplayObserver {
  readonly levels: ServiceLevels;
  readonly samples = new SampleColumns();
  readonly totals: Totals = emptyTotals();
  readonly errors = new Map<string, number>();
  endMs = Number.NaN;
  #latestMs = 0;
  #run: ReplayRun | undefined;
  #records: RequestColumns | undefined;
  readonly #maxRecords: number;

  constructor({ levels = {}, maxRecords = 250_000 }: RecorderOptions = {}) {
    this.levels = levels;
    this.#maxRecords = maxRecords;
  }

  get run(): ReplayRun {
    if (this.#run === undefined) throw new Error('the replay has not begun');
    return this.#run;
  }

  get records(): RequestColumns {
    if (this.#records === undefined) throw new Error('the replay has not begun');
    return this.#records;
  }

  begin(run: ReplayRun): void {
    this.#run = run;
    this.#records = new RequestColumns({ maxRows: this.#maxRecords, random: seeded(run.seed, 'report') });
  }

  request(record: RequestRecord): void {
    const { totals } = this;
    this.records.add(record);
    if (record.lastTokenMs > this.#latestMs) this.#latestMs = record.lastTokenMs;
    totals.firstArrivalMs = Math.min(totals.firstArrivalMs, record.arrivalMs);
    totals.preemptions += record.preemptions;
    const outcome = outcomes[record.outcome] ?? 'failed';
    totals.outcomes[outcome]++;
    if (outcome === 'completed') this.#completed(record);
  }

  /** A request that did not complete, by its code. */
  error(code: string): void {
    this.errors.set(code, (this.errors.get(code) ?? 0) + 1);
  }

  sample(sample: ClusterSample): void {
    this.samples.add(sample);
    this.#latestMs = Math.max(this.#latestMs, sample.atMs);
  }

  end(endMs: number): void {
    this.endMs = endMs;
  }

  /** Ends a replay that was interrupted, where it had come to. False: it had not begun. */
  interrupt(): boolean {
    this.endMs = this.#latestMs;
    return this.#run !== undefined;
  }

  #completed(record: RequestRecord): void {
    const { totals } = this;
    const { promptTokens, cachedTokens, outputTokens } = record;
    for (const name of requestMetricNames) totals.metrics[name].add(requestMetrics[name](record));
    totals.promptTokens += promptTokens;
    totals.cachedTokens += cachedTokens;
    totals.outputTokens += outputTokens;
    if (keepsLevels(record, this.levels)) {
      totals.goodRequests++;
      totals.goodOutputTokens += outputTokens;
    }
    const blockSize = this.#worker(record.prefillWorker)?.blockSize ?? Number.NaN;
    totals.promptBlocks += Math.floor(promptTokens / blockSize);
    totals.cachedBlocks += Math.floor(cachedTokens / blockSize);
    this.#placed(record);
  }

  /** Counts the request for the worker of its prompt and that of its output, once where they are the same. */
  #placed({ worker, prefillWorker, promptTokens, cachedTokens, outputTokens, preemptions }: RequestRecord): void {
    const decode = this.#totalsOf(worker);
    const prefill = this.#totalsOf(prefillWorker);
    if (prefill !== undefined) {
      prefill.promptTokens += promptTokens;
      prefill.cachedTokens += cachedTokens;
      if (prefill !== decode) prefill.requests++;
    }
    if (decode !== undefined) {
      decode.requests++;
      decode.outputTokens += outputTokens;
      decode.preemptions += preemptions;
    }
  }

  #worker(index: number): ReplayWorker | undefined {
    return this.run.workers[index];
  }

  #totalsOf(index: number): WorkerTotals | undefined {
    const { workers } = this.totals;
    if (index < 0) return undefined;
    while (workers.length <= index) workers.push(emptyWorkerTotals());
    return workers[index];
  }
}

function emptyTotals(): Totals {
  const metrics = Object.fromEntries(requestMetricNames.map((name) => [name, new Extent()]));
  return {
    outcomes: { completed: 0, rejected: 0, failed: 0 },
    metrics: metrics as Record<RequestMetric, Extent>,
    workers: [],
    promptTokens: 0,
    cachedTokens: 0,
    promptBlocks: 0,
    cachedBlocks: 0,
    outputTokens: 0,
    goodRequests: 0,
    goodOutputTokens: 0,
    preemptions: 0,
    firstArrivalMs: Infinity,
  };
}

export function emptyWorkerTotals(): WorkerTotals {
  return { requests: 0, promptTokens: 0, cachedTokens: 0, outputTokens: 0, preemptions: 0 };
}
