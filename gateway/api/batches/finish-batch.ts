import type { GatewayContext } from '../../context.ts';
import { FileStore } from '../files/file-store.ts';
import type { BatchStore } from './batch-store.ts';
import { requestOf, textLines } from './input.ts';
import { BatchResults, type ResultKind } from './results.ts';
import type { BatchObject } from './schema.ts';

/** What came of a request of a batch. */
export interface LineOutcome {
  readonly kind: ResultKind;
  readonly customId: string;
  readonly requestId: string;
  readonly status: number;
  /** Body of the answer. */
  readonly json: string;
}

/** Keeps what came of a request until the files are made, which is soon after the batch expires at the latest. */
export async function putLine(results: BatchResults, line: number, o: LineOutcome, batch: BatchObject): Promise<void> {
  const response = `{"status_code":${o.status},"request_id":"${o.requestId}","body":${o.json}}`;
  const json = `${head(batch, line, o.customId)},"response":${response},"error":null}`;
  await results.put(line, o.kind, json, keptUnixMs(batch));
}

function head({ id }: BatchObject, line: number, customId: string): string {
  return `{"id":"${id.replace('batch_', 'batch_req_')}_${line}","custom_id":${JSON.stringify(customId)}`;
}

function keptUnixMs({ expires_at: expires }: BatchObject): number {
  return (expires + 7 * 86_400) * 1000;
}

/** Makes the files of a batch whose requests have been answered, or that was cancelled or expired. May be done again. */
export async function finishBatch(ctx: GatewayContext, batches: BatchStore, batch: BatchObject): Promise<void> {
  const results = new BatchResults(ctx.store, batch.id);
  const nowUnix = Math.floor(ctx.batches.nowUnixMs() / 1000);
  const isWhole = (await results.known()).size >= batch.request_counts.total;
  const status = batch.status === 'cancelling' ? 'cancelled' : isWhole ? 'completed' : 'expired';
  if (batch.status === 'in_progress') {
    await batches.change(batch.id, (one) => {
      if (one.status !== 'in_progress') return false;
      one.status = 'finalizing';
      one.finalizing_at = nowUnix;
      return true;
    });
  }
  if (!isWhole) await fillUp(ctx, results, batch, status);
  const { outputExpiresAfter } = await batches.get(batch.id);
  const kept = outputExpiresAfter ?? ctx.config.fileDays * 86_400;
  const output = await makeFile(ctx, results, 'output', batch, nowUnix + kept);
  const error = await makeFile(ctx, results, 'error', batch, nowUnix + kept);
  const counts = { completed: 0, failed: 0 };
  for (const kind of (await results.known()).values()) counts[kind === 'output' ? 'completed' : 'failed'] += 1;
  await batches.change(batch.id, (one) => {
    one.status = status;
    one.output_file_id = output;
    one.error_file_id = error;
    one[`${status}_at`] = nowUnix;
    Object.assign(one.request_counts, counts);
    return true;
  });
  await results.clear();
}

/** Says of every request without a result why it has none. */
async function fillUp(ctx: GatewayContext, results: BatchResults, batch: BatchObject, status: string): Promise<void> {
  const known = await results.known();
  let line = -1;
  for await (const { text } of textLines(new FileStore(ctx.store).read(batch.input_file_id))) {
    line += 1;
    if (known.has(line)) continue;
    const { custom_id: customId } = requestOf(text, batch.endpoint);
    const error = { code: `batch_${status}`, message: `The batch was ${status} before this request was answered.` };
    const json = `${head(batch, line, customId)},"response":null,"error":${JSON.stringify(error)}}`;
    await results.put(line, 'error', json, keptUnixMs(batch));
  }
}

/** The file of one kind of results; null: there are none. Its id follows from the batch's, so that there is only one. */
async function makeFile(
  ctx: GatewayContext,
  results: BatchResults,
  kind: ResultKind,
  batch: BatchObject,
  expiresUnix: number,
): Promise<string | null> {
  const id = `file-${batch.id.replace('batch_', '')}${kind}`;
  const first = await results.lines(kind).next();
  if (first.done === true) return null;
  const file = {
    id,
    filename: `${batch.id}_${kind}.jsonl`,
    purpose: 'batch_output' as const,
    createdUnix: Math.floor(Date.now() / 1000),
    expiresUnix: Math.floor(expiresUnix),
  };
  await new FileStore(ctx.store).create(file, results.lines(kind));
  return id;
}
