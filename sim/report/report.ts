import { z } from 'zod';

/** Raised whenever a field changes its meaning or goes; new fields do not raise it. */
export const reportSchemaName = 'stator.replay.report/v1';

const count = z.int().min(0);
/** null: there was nothing to measure. */
const measure = z.number().nullable();

const distribution = z
  .object({
    count: count.describe('Requests that had this figure.'),
    avg: measure,
    min: measure,
    max: measure,
    p50: measure,
    p75: measure,
    p90: measure,
    p95: measure,
    p99: measure,
  })
  .describe('Percentiles lie linearly between the nearest ranks.');

const imbalance = z
  .object({
    maxOverMean: measure.describe('Load of the most loaded over the mean; 1: even.'),
    variation: measure.describe('Standard deviation over the mean; 0: even.'),
  })
  .describe('How unevenly a load lies on workers.');

const role = z.enum(['aggregated', 'prefill', 'decode']);

const worker = z.object({
  name: z.string(),
  role,
  ranks: count.describe('Data parallel ranks.'),
  totalBlocks: count.nullable().describe('KV blocks of all ranks; null: not known.'),
  blockSize: count.nullable().describe('Tokens of a KV block; null: not known.'),
  requests: count.describe(
    'Requests whose output was made here; of prefill workers those whose prompt was computed here.',
  ),
  promptTokens: count.describe('Tokens of the prompts that were computed here.'),
  cachedTokens: count.describe('Those of them that were cached.'),
  outputTokens: count,
  preemptions: count,
  running: measure.describe('Sequences computed at once, mean over time.'),
  waiting: measure.describe('Sequences that wait in the engine, mean over time.'),
  usedBlocks: measure.describe('Share of KV blocks in use by sequences, mean over time.'),
});

const balance = z.object({
  role,
  workers: count,
  requests: imbalance,
  prefillTokens: imbalance.describe('Of prompt tokens that were not cached.'),
  outputTokens: imbalance,
  inFlight: imbalance.describe('Of sequences that run or wait, mean over time.'),
  momentary: imbalance.describe('The same at each moment, then the mean over the moments.'),
});

const overTime = z.array(measure).describe('One value for each span.');
const percentilesOverTime = z.object({ p50: overTime, p90: overTime, p99: overTime });

const timeline = z
  .object({
    spanMs: z.number().describe('Length of a span; the first begins with the replay.'),
    endMs: z.number().describe('End of the last span, which is up to half a span shorter or longer than the others.'),
    arrived: overTime.describe('Requests that clients sent in the span, a second.'),
    completed: overTime.describe('Requests that ended in the span, a second.'),
    outputTokens: overTime.describe('Tokens a second.'),
    timeToFirstTokenMs: percentilesOverTime.describe('Of requests sent in the span.'),
    interTokenLatencyMs: percentilesOverTime.describe('Of requests sent in the span.'),
    requestLatencyMs: percentilesOverTime.describe('Of requests sent in the span.'),
    hitRate: overTime.describe('Share of prompt tokens that were cached, of requests sent in the span.'),
    queued: overTime.describe("Requests in the router's queue."),
    waiting: overTime.describe('Sequences that wait in engines.'),
    inFlight: overTime.describe('Requests sent and not yet over.'),
    workerLoad: z.array(overTime).describe('Of each worker: sequences that run or wait there.'),
  })
  .describe('The course of the replay in at most 60 spans.');

/** The report of one replay, as `--report-json` writes it. */
export const replayReport = z
  .object({
    schema: z.literal(reportSchemaName),
    run: z.object({
      trace: z.string(),
      time: z.enum(['virtual', 'real']).describe('virtual: under a simulated clock; real: against a live deployment.'),
      seed: z.int(),
      routerMode: z.string(),
      settings: z
        .record(z.string(), z.union([z.string(), z.number(), z.boolean()]))
        .describe('Settings of the command that were not left at their default.'),
      partial: z.boolean().describe('Whether it was interrupted before its last request.'),
    }),
    durationMs: measure.describe('From the first request sent to the last that was over.'),
    requests: z.object({
      sent: count,
      completed: count,
      rejected: count.describe('Refused, by a full queue or as impossible.'),
      failed: count,
      sampled: count.describe('Requests that percentiles are of; fewer than sent only in long replays.'),
    }),
    errors: z.array(z.object({ code: z.string(), count })).describe('By code, the most frequent first.'),
    throughput: z.object({
      requestsPerSecond: measure.describe('Completed requests.'),
      inputTokensPerSecond: measure,
      outputTokensPerSecond: measure,
      outputTokensPerSecondPerWorker: measure.describe('Over workers that make output.'),
      meanInFlight: measure,
    }),
    timeToFirstTokenMs: distribution.describe('From sending a request to its first token.'),
    interTokenLatencyMs: distribution.describe(
      'Mean time between the tokens of a request, its first token apart: also called time per output token (TPOT).',
    ),
    requestLatencyMs: distribution.describe('From sending a request to its last token.'),
    longestGapMs: distribution.describe('Longest time between two tokens of a request.'),
    outputTokensPerSecondPerUser: distribution.describe('1 / inter-token latency.'),
    routerWaitMs: distribution.describe("Wait in the router's queue."),
    engineWaitMs: distribution.describe("Wait in the engine's queue."),
    promptTokens: distribution,
    outputTokens: distribution,
    cache: z.object({
      promptTokens: count,
      cachedTokens: count,
      tokenHitRate: measure.describe('Cached prompt tokens over prompt tokens.'),
      promptBlocks: count.nullable().describe('Whole blocks of prompts; null: the block size is not known.'),
      cachedBlocks: count.nullable(),
      blockHitRate: measure,
    }),
    goodput: z
      .object({
        timeToFirstTokenMs: measure.describe('The bound; null: none.'),
        interTokenLatencyMs: measure,
        requestLatencyMs: measure,
        requests: count.describe('Completed within all bounds.'),
        share: measure.describe('Of requests sent.'),
        requestsPerSecond: measure,
        outputTokensPerSecond: measure,
      })
      .nullable()
      .describe('What was delivered within the bounds; null: no bound was given.'),
    preemptions: count,
    balance: z.array(balance).describe('One for each role of workers.'),
    workers: z.array(worker),
    timeline,
  })
  .describe('Report of a replay.');

export type ReplayReport = z.infer<typeof replayReport>;
export type ReportDistribution = z.infer<typeof distribution>;
export type ReportImbalance = z.infer<typeof imbalance>;
export type ReportTimeline = z.infer<typeof timeline>;
export type PercentilesOverTime = z.infer<typeof percentilesOverTime>;
