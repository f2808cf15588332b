import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorClasses } from '#lib/errors/codes.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../../context.ts';
import { renderErrorBody } from '../../http/error-body.ts';
import { FileStore } from '../files/file-store.ts';
import { onBehalf } from '../on-behalf.ts';
import { answerLine } from './answer-line.ts';
import { BatchStore, type QueuedBatch } from './batch-store.ts';
import { finishBatch, type LineOutcome, putLine } from './finish-batch.ts';
import { checkInput, requestOf, textLines } from './input.ts';
import { BatchResults } from './results.ts';
import type { BatchObject } from './schema.ts';

const watchMs = 1000;
const longestWaitMs = 10_000;

/** Errors that pass: the request is asked again until the batch expires. */
const passing: ReadonlySet<string> = new Set([
  'overloaded',
  'rate_limited',
  'queue_timeout',
  'not_ready',
  'worker_unavailable',
  'stream_incomplete',
]);

export function nowUnix(ctx: GatewayContext): number {
  return Math.floor(ctx.batches.nowUnixMs() / 1000);
}

/**
 * Brings a batch to its end from wherever it stands, as the caller who left it. Throws, with everything that was answered
 * kept, when `signal` is aborted or the store fails: then somebody goes on later.
 */
export async function runBatch(ctx: GatewayContext, entry: QueuedBatch, signal: AbortSignal): Promise<void> {
  const batches = new BatchStore(ctx.store);
  let { batch } = await batches.get(entry.id);
  if (batch.status === 'validating') batch = await validate(ctx, batches, batch);
  if (batch.status === 'in_progress') batch = await answerAll(ctx, entry, batches, batch, signal);
  signal.throwIfAborted();
  if (batch.status !== 'failed') await finishBatch(ctx, batches, batch);
}

async function validate(ctx: GatewayContext, batches: BatchStore, batch: BatchObject): Promise<BatchObject> {
  const { total, errors } = await checkInput(new FileStore(ctx.store).read(batch.input_file_id), batch.endpoint);
  const changed = await batches.change(batch.id, (one) => {
    if (one.status !== 'validating') return false;
    if (errors.length > 0) {
      one.errors = { object: 'list', data: errors };
      one.status = 'failed';
      one.failed_at = nowUnix(ctx);
    } else {
      one.status = 'in_progress';
      one.in_progress_at = nowUnix(ctx);
      one.request_counts.total = total;
    }
    return true;
  });
  return changed.batch;
}

/** Answers every request that has no result yet, some at once, until the batch is cancelled or expires. */
async function answerAll(
  ctx: GatewayContext,
  entry: QueuedBatch,
  batches: BatchStore,
  batch: BatchObject,
  stop: AbortSignal,
): Promise<BatchObject> {
  const results = new BatchResults(ctx.store, batch.id);
  const known = await results.known();
  const counts = { completed: 0, failed: 0 };
  for (const kind of known.values()) counts[kind === 'output' ? 'completed' : 'failed'] += 1;
  const end = new AbortController();
  const signal = AbortSignal.any([stop, end.signal]);
  let latest = batch;
  const watch = async (): Promise<void> => {
    ({ batch: latest } = await batches.change(batch.id, (one) => {
      const changed = one.request_counts.completed !== counts.completed || one.request_counts.failed !== counts.failed;
      Object.assign(one.request_counts, counts);
      return changed;
    }));
    if (latest.status === 'cancelling') end.abort(new StatorError('cancelled', 'The batch was cancelled.'));
    if (nowUnix(ctx) >= latest.expires_at) end.abort(new StatorError('deadline_exceeded', 'The batch expired.'));
  };
  await watch();
  const timer = setInterval(() => void watch().catch(() => {}), watchMs);
  const running = new Set<Promise<void>>();
  try {
    let line = -1;
    for await (const { text } of textLines(new FileStore(ctx.store).read(batch.input_file_id))) {
      line += 1;
      if (known.has(line)) continue;
      if (signal.aborted) break;
      const number = line;
      const answering = answerOne(ctx, entry, batch, { text, signal }).then(async (outcome) => {
        if (outcome === null) return;
        await putLine(results, number, outcome, batch);
        counts[outcome.kind === 'output' ? 'completed' : 'failed'] += 1;
        ctx.batches.answered(outcome.kind);
      });
      running.add(answering);
      answering.finally(() => running.delete(answering)).catch(() => {});
      if (running.size >= ctx.config.batchConcurrency) await Promise.race(running);
    }
    await Promise.all(running);
  } finally {
    clearInterval(timer);
    await Promise.allSettled(running);
  }
  stop.throwIfAborted();
  await watch();
  return latest;
}

/** One request with its answer or error; null: the batch ended before. */
async function answerOne(
  ctx: GatewayContext,
  { caller }: QueuedBatch,
  { endpoint }: BatchObject,
  { text, signal }: { text: string; signal: AbortSignal },
): Promise<LineOutcome | null> {
  const { custom_id: customId, body } = requestOf(text, endpoint);
  for (let attempt = 0; ; attempt++) {
    if (signal.aborted) return null;
    const requestId = randomUUID();
    try {
      const json = await onBehalf(ctx, caller, () => answerLine(ctx, endpoint, body, { requestId, signal }));
      return { kind: 'output', customId, requestId, status: 200, json };
    } catch (thrown) {
      const error = StatorError.from(thrown);
      if (signal.aborted) return null;
      // While no worker is known at all, as after a start, nothing is known of models.
      const unsettled = error.code === 'model_not_found' && ctx.catalog.entries().length === 0;
      if (!passing.has(error.code) && !unsettled) {
        const status = error.code === 'overloaded' ? 529 : errorClasses[error.code].http;
        return { kind: 'error', customId, requestId, status, json: renderErrorBody(error) };
      }
      const waitMs = Math.min(longestWaitMs, error.retryAfterMs ?? 250 * 2 ** Math.min(attempt, 10));
      await sleep(waitMs, undefined, { signal }).catch(() => {});
    }
  }
}
