import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../../context.ts';
import { readJsonBody } from '../../http/body.ts';
import { type Exchange, sendJson } from '../../http/exchange.ts';
import type { RouteParams } from '../../http/route-table.ts';
import { anybody, currentCaller } from '../../tenants/caller.ts';
import { BatchQueue, BatchStore } from '../batches/batch-store.ts';
import { type BatchObject, batchRequest } from '../batches/schema.ts';
import { FileStore } from '../files/file-store.ts';
import { pageAsked } from '../page.ts';
import { timeId } from '../time-id.ts';
import { validateBody } from '../validate.ts';

const windowSeconds = 86_400;

/** POST /v1/batches */
export async function createBatch(ctx: GatewayContext, exchange: Exchange): Promise<void> {
  const body = await readJsonBody(exchange, ctx.config.bodyLimitMib * 1024 * 1024);
  const valid = validateBody(batchRequest, body);
  const file = await new FileStore(ctx.store).get(valid.input_file_id, 'input_file_id');
  if (file.purpose !== 'batch')
    throw StatorError.invalid(
      'input_file_id',
      `Validation: \`input_file_id\`: its purpose is ${file.purpose}, not batch`,
    );
  const createdUnix = Math.floor(Date.now() / 1000);
  const batch: BatchObject = {
    id: timeId('batch_'),
    object: 'batch',
    endpoint: valid.endpoint,
    errors: null,
    input_file_id: file.id,
    completion_window: '24h',
    status: 'validating',
    output_file_id: null,
    error_file_id: null,
    created_at: createdUnix,
    in_progress_at: null,
    expires_at: createdUnix + windowSeconds,
    finalizing_at: null,
    completed_at: null,
    failed_at: null,
    expired_at: null,
    cancelling_at: null,
    cancelled_at: null,
    request_counts: { total: 0, completed: 0, failed: 0 },
    metadata: valid.metadata ?? null,
  };
  const outputExpiresAfter = valid.output_expires_after?.seconds ?? null;
  const keptSeconds = windowSeconds + Math.max(ctx.config.fileDays * 86_400, outputExpiresAfter ?? 0);
  const expiresUnixMs = Math.floor((createdUnix + keptSeconds) * 1000);
  await new BatchStore(ctx.store).create({ batch, outputExpiresAfter }, expiresUnixMs);
  await new BatchQueue(ctx.store).add(batch.id, currentCaller() ?? anybody);
  ctx.batches.wake();
  sendJson(exchange, 200, JSON.stringify(batch));
}

/** GET /v1/batches */
export async function listBatches(ctx: GatewayContext, exchange: Exchange): Promise<void> {
  const { items, hasMore } = await new BatchStore(ctx.store).list(pageAsked(exchange, { limit: 20, most: 100 }));
  const ends = { first_id: items[0]?.id ?? null, last_id: items.at(-1)?.id ?? null };
  sendJson(exchange, 200, JSON.stringify({ object: 'list', data: items, ...ends, has_more: hasMore }));
}

/** GET /v1/batches/{id} */
export async function getBatch(ctx: GatewayContext, exchange: Exchange, { id = '' }: RouteParams): Promise<void> {
  sendJson(exchange, 200, JSON.stringify((await new BatchStore(ctx.store).get(id)).batch));
}

/** POST /v1/batches/{id}/cancel */
export async function cancelBatch(ctx: GatewayContext, exchange: Exchange, { id = '' }: RouteParams): Promise<void> {
  const { batch } = await new BatchStore(ctx.store).change(id, (one) => {
    if (one.status !== 'validating' && one.status !== 'in_progress') return false;
    one.status = 'cancelling';
    one.cancelling_at = Math.floor(Date.now() / 1000);
    return true;
  });
  if (batch.status !== 'cancelling' && batch.status !== 'cancelled') {
    const message = `The batch \`${id}\` is ${batch.status}; only one that runs can be cancelled.`;
    throw new StatorError('conflict', message, { field: 'id' });
  }
  sendJson(exchange, 200, JSON.stringify(batch));
}
