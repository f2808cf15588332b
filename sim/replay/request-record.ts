/** How a replayed request ended. */
export type Outcome = 'completed' | 'rejected' | 'failed';

/** Names of outcomes; a record's column holds the index. */
export const outcomes: readonly Outcome[] = ['completed', 'rejected', 'failed'];

/**
 * One request of a replay. Times are milliseconds since the replay began; NaN: it never came to that. The numbers are what
 * happened at the worker, not what the router expected.
 */
export interface RequestRecord {
  /** Place in the order in which requests were sent, from 0. */
  readonly index: number;
  /** The client sent it. */
  readonly arrivalMs: number;
  /** The router chose a worker; later than the arrival where it waited in the router's queue. */
  readonly routedMs: number;
  /** An engine began to compute its prompt. NaN also where nobody outside can tell, as in a live deployment. */
  readonly startedMs: number;
  readonly firstTokenMs: number;
  readonly lastTokenMs: number;
  /** Longest time between two of its tokens; 0 with fewer than two. */
  readonly longestGapMs: number;
  readonly promptTokens: number;
  /** Prompt tokens that its worker had cached, in whichever tier. */
  readonly cachedTokens: number;
  readonly outputTokens: number;
  /** Index in `ReplayRun.workers` of where its output was made; −1: nowhere. */
  readonly worker: number;
  /** The same of where its prompt was computed; equal to `worker` unless the stages are apart. */
  readonly prefillWorker: number;
  /** Times that an engine had to take it back for lack of memory. */
  readonly preemptions: number;
  /** Index in `outcomes`. */
  readonly outcome: number;
}

export interface ReplayWorker {
  readonly name: string;
  readonly role: 'aggregated' | 'prefill' | 'decode';
  /** Data parallel ranks. */
  readonly ranks: number;
  /** KV blocks of all of its ranks. */
  readonly totalBlocks: number;
  readonly blockSize: number;
}

/** What a replay is of, told before its first request. */
export interface ReplayRun {
  /** File name of the trace, or what was generated. */
  readonly trace: string;
  /** `virtual`: under a simulated clock; `real`: against a live deployment. */
  readonly time: 'virtual' | 'real';
  readonly seed: number;
  readonly routerMode: string;
  readonly workers: readonly ReplayWorker[];
  /** Requests that will come; NaN: not known. */
  readonly expectedRequests: number;
}

/** The state of everything at one moment. The columns are used again after the call: copy what is kept. */
export interface ClusterSample {
  readonly atMs: number;
  /** Requests that wait in the router's queue. */
  readonly queued: number;
  /** Requests sent and not yet over. */
  readonly inFlight: number;
  /** Since the replay began: requests over, tokens of prompts placed, those of them that were cached, tokens of output. */
  readonly finished: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly outputTokens: number;
  /** By worker: sequences that run, that wait in the engine, and KV blocks in use by them. */
  readonly running: Float64Array;
  readonly waiting: Float64Array;
  readonly usedBlocks: Float64Array;
}

/** What a replay tells its report. */
export interface ReplayObserver {
  begin(run: ReplayRun): void;
  /** A request is over. The same object is used again after the call. */
  request(record: RequestRecord): void;
  /** Why a request did not complete: a code of lib/errors. Told before the request itself. */
  error(code: string): void;
  sample(sample: ClusterSample): void;
  /** Nothing comes after this. `endMs`: when the last request was over. */
  end(endMs: number): void;
}
