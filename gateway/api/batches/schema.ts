import { z } from 'zod';

export const batchEndpoints = ['/v1/chat/completions', '/v1/completions', '/v1/embeddings'] as const;

export type BatchEndpoint = (typeof batchEndpoints)[number];

/** The body of POST /v1/batches. */
export const batchRequest = z
  .strictObject({
    input_file_id: z.string().min(1).max(128),
    endpoint: z.enum(batchEndpoints),
    completion_window: z.literal('24h'),
    metadata: z.record(z.string().max(64), z.string().max(512)).nullish(),
    output_expires_after: z
      .strictObject({ anchor: z.literal('created_at'), seconds: z.int().min(3600).max(2_592_000) })
      .nullish(),
  })
  .meta({ id: 'BatchRequest' });

/** A line of the file that a batch runs. */
export const batchLine = z.strictObject({
  custom_id: z.string().min(1).max(512),
  method: z.literal('POST'),
  url: z.string(),
  body: z.record(z.string(), z.unknown()),
});

export type BatchLine = z.infer<typeof batchLine>;

const time = z.int().nullable();

export const batchObject = z
  .object({
    id: z.string(),
    object: z.literal('batch'),
    endpoint: z.enum(batchEndpoints),
    errors: z
      .object({
        object: z.literal('list'),
        data: z.array(
          z.object({ code: z.string(), message: z.string(), param: z.string().nullable(), line: z.int().nullable() }),
        ),
      })
      .nullable(),
    input_file_id: z.string(),
    completion_window: z.literal('24h'),
    status: z.enum([
      'validating',
      'failed',
      'in_progress',
      'finalizing',
      'completed',
      'expired',
      'cancelling',
      'cancelled',
    ]),
    output_file_id: z.string().nullable(),
    error_file_id: z.string().nullable(),
    created_at: z.int(),
    in_progress_at: time,
    expires_at: z.int(),
    finalizing_at: time,
    completed_at: time,
    failed_at: time,
    expired_at: time,
    cancelling_at: time,
    cancelled_at: time,
    request_counts: z.object({ total: z.int(), completed: z.int(), failed: z.int() }),
    metadata: z.record(z.string(), z.string()).nullable(),
  })
  .meta({ id: 'Batch' });

export type BatchObject = z.infer<typeof batchObject>;

export const batchList = z
  .object({
    object: z.literal('list'),
    data: z.array(batchObject),
    first_id: z.string().nullable(),
    last_id: z.string().nullable(),
    has_more: z.boolean(),
  })
  .meta({ id: 'BatchList' });
