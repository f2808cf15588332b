import { z } from 'zod';

const rank = z.int().min(0).max(0xffff_ffff);

/** 64-bit identifiers: a decimal string, because JSON numbers above 2^53 are not exact. */
export const instanceIdField = z
  .union([z.int().min(0), z.string().regex(/^\d{1,20}$/, 'must be a decimal number')])
  .describe('Instance of a worker, as a decimal string or an integer up to 2^53-1.');

/** The extension object of NVIDIA Dynamo's clients: the part of it that this gateway honours. Other keys are refused. */
export const nvext = z
  .strictObject({
    greed_sampling: z.boolean().nullish().describe('Greedy, whatever temperature and top_p say.'),
    use_raw_prompt: z.boolean().nullish().describe('Chat: the text of the messages is the prompt, without a template.'),
    annotations: z
      .array(z.enum(['request_id', 'token_ids', 'formatted_prompt']))
      .max(8)
      .nullish()
      .describe('Extra events in front of a stream.'),
    backend_instance_id: instanceIdField.nullish().describe('Worker that must serve the request.'),
    decode_worker_id: instanceIdField
      .nullish()
      .describe('The same as backend_instance_id where prefill and decode are one worker.'),
    dp_rank: rank.nullish().describe('Data parallel rank that must serve the request.'),
    token_data: z.array(rank).min(1).nullish().describe('Prompt as token ids, instead of tokenizing.'),
    cache_salt: z
      .string()
      .max(512)
      .nullish()
      .describe('Separates prefix caches; wins over the cache_salt of the request.'),
    extra_fields: z
      .array(z.enum(['worker_id', 'timing', 'stop_reason', 'completion_token_ids', 'prompt_token_ids']))
      .max(8)
      .nullish()
      .describe('Fields wanted in the nvext object of the answer.'),
    agent_hints: z
      .strictObject({
        priority: z.int().min(-0x8000_0000).max(0x7fff_ffff).nullish().describe('Higher runs earlier.'),
        strict_priority: rank.nullish().describe('Strictly higher goes first in the router queue.'),
        osl: rank.nullish().describe('Output tokens expected.'),
      })
      .nullish(),
    routing_constraints: z
      .strictObject({
        required_taints: z.array(z.string().min(1)).max(64).nullish(),
        preferred_taints: z.record(z.string(), z.number()).nullish(),
      })
      .nullish(),
  })
  .meta({ id: 'Nvext' });

export type Nvext = z.infer<typeof nvext>;
