import { z } from 'zod';

const id = z.string().regex(/^\d+$/);
const count = z.int().min(0);
const ms = z.number().min(0);
const tokenIds = z.array(count);

const workerId = z.strictObject({
  prefill_worker_id: id.optional(),
  prefill_dp_rank: count.optional(),
  decode_worker_id: id.optional(),
  decode_dp_rank: count.optional(),
});

const timing = z
  .strictObject({
    request_received_ms: z.int().describe('Unix time of the arrival.'),
    prefill_wait_time_ms: ms.optional().describe('Until the worker of the first token began the prompt.'),
    prefill_time_ms: ms.optional().describe('From then until the first token.'),
    ttft_ms: ms.optional(),
    handoff_time_ms: ms
      .optional()
      .describe('Where another worker decodes: from the first token until it had the KV and a token of its own.'),
    total_time_ms: ms,
    kv_hit_rate: z.number().min(0).max(1).optional().describe('Share of the prompt that the worker found cached.'),
    router_queue_depth: count.optional().describe('Requests that waited in the queue of the router at the arrival.'),
  })
  .describe('What nobody measured is left out.');

const blocks = {
  device_blocks: count,
  host_blocks: count,
  disk_blocks: count,
  external_blocks: count,
  shared_blocks: count,
} as const;

const workerCost = z.strictObject({
  worker_id: id,
  dp_rank: count,
  cost: z.number().optional().describe('The smallest wins.'),
  terms: z.record(z.string(), z.number()).optional().describe('What the cost is made of; docs/routing.md.'),
  excluded_because: z.string().optional().describe('Why it cannot serve the request; instead of a cost.'),
  ...blocks,
  prefill_tokens: count.describe('Prompt tokens that it would have to compute.'),
});

/** One stage of a request, or all of it. */
const placed = {
  mode: z.string().describe('How the worker was chosen, for example `kv`.'),
  by_session: z.boolean().describe("Whether the session's worker decided."),
  worker_id: id,
  dp_rank: count,
  prompt_tokens: count,
  prompt_blocks: count,
  overlap_tokens: count.describe('Prompt tokens that the worker was expected to have.'),
  ...blocks,
  queue_ms: ms,
  queue_depth: count,
  workers: z.array(workerCost),
} as const;

/** How a prompt was routed: the `routing` event of a stream and `nvext.routing` of a whole answer. */
const routing = z
  .strictObject({
    request_id: z.string(),
    ...placed,
    prefill: z
      .strictObject({
        remote: z.boolean().describe('Whether a prefill worker computes the prompt.'),
        policy: z.string(),
        reason: z.string(),
        net_new_tokens: count.optional().describe('Prompt tokens that the decode worker would have to compute.'),
        prefill_worker_id: id.optional(),
        decode_worker_id: id.optional(),
      })
      .optional()
      .describe('Where prefill and decode workers serve the model: who computes the prompt, and why.'),
    decode: z
      .strictObject(placed)
      .optional()
      .describe('Of a whole answer: the worker that the rest of the output comes from, where that is another one.'),
  })
  .meta({ id: 'Routing' });

/** The extension object of answers: what `nvext.extra_fields` and `nvext.annotations` asked for. */
export const answerNvext = z
  .strictObject({
    worker_id: workerId.optional(),
    timing: timing.optional(),
    stop_reason: z.union([z.string(), z.int()]).nullish().describe('The stop string or token that ended the choice.'),
    detailed_finish_reason: z.enum(['eos', 'stop', 'length']).optional(),
    completion_token_ids: tokenIds.optional().describe('Of a chunk: those that it brings.'),
    prompt_token_ids: tokenIds.optional(),
    prompt_logprobs: z.array(z.unknown()).optional(),
    token_ids: tokenIds.optional().describe('Of a dry run: the prompt.'),
    routing: routing.optional(),
  })
  .meta({ id: 'AnswerNvext' });
