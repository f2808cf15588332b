import { z } from 'zod';
import { modelField } from './common.ts';

/** The body of POST /busy_threshold. */
export const busyThresholdRequest = z
  .strictObject({
    model: modelField,
    active_decode_blocks_threshold: z
      .number()
      .min(0)
      .max(1)
      .nullish()
      .describe("Busy if more than this fraction of a worker's KV blocks is in use."),
    active_prefill_tokens_threshold: z
      .int()
      .min(0)
      .nullish()
      .describe('Busy if more prompt tokens than this wait to be computed.'),
    active_prefill_tokens_threshold_frac: z
      .number()
      .min(0)
      .max(1e9)
      .nullish()
      .describe('The same as a multiple of the tokens of one pass of the worker.'),
  })
  .meta({ id: 'BusyThresholdRequest' });

export type BusyThresholdRequestBody = z.infer<typeof busyThresholdRequest>;

/** Thresholds in force; null: off. */
export const busyThreshold = z
  .object({
    model: z.string(),
    active_decode_blocks_threshold: z.number().nullable(),
    active_prefill_tokens_threshold: z.int().nullable(),
    active_prefill_tokens_threshold_frac: z.number().nullable(),
  })
  .meta({ id: 'BusyThreshold' });

export const busyThresholdList = z.object({ thresholds: z.array(busyThreshold) }).meta({ id: 'BusyThresholdList' });
