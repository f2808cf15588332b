import { z } from 'zod';

const uint32 = z.int().min(0).max(0xffff_ffff);
const largestId = 2n ** 64n - 1n;

/** 64-bit identifiers: a decimal string, because JSON numbers above 2^53 are not exact everywhere. */
export const instanceIdField = z
  .union([
    z.int().min(0),
    z
      .string()
      .regex(/^\d{1,20}$/, 'must be a decimal number')
      .refine((text) => !/^\d{1,20}$/.test(text) || BigInt(text) <= largestId, 'must be less than 2^64'),
  ])
  .describe('Instance of a worker, as an integer or a decimal string.');

/** Prefix of the annotation that asks where a request would go; a phase may follow it. */
export const dryRunPrefix = 'query_instance_id:';

const annotation = z
  .union([
    z.enum(['request_id', 'token_ids', 'formatted_prompt', 'routing'], {
      error: 'must be request_id, token_ids, formatted_prompt, routing or query_instance_id:<phase>',
    }),
    z.templateLiteral([z.literal(dryRunPrefix), z.string().max(64)]),
  ])
  .describe("routing: the decision and every worker's cost. query_instance_id:<phase>: only say where it would go.");

const taint = z.string().min(1).max(256);
const sessionId = z
  .string()
  .min(1)
  .refine((text) => Buffer.byteLength(text) <= 256, 'must have at most 256 bytes');
const milliseconds = z.number().gt(0).max(86_400_000);

/** Whose cached prompts are kept apart. */
export const kvIsolations = ['none', 'subagent', 'session'] as const;
export type KvIsolation = (typeof kvIsolations)[number];

const agentHints = z.strictObject({
  priority: z
    .int()
    .min(-0x8000_0000)
    .max(0x7fff_ffff)
    .nullish()
    .describe('Higher runs earlier, in the queue of the router and in the engine.'),
  strict_priority: uint32.nullish().describe('Strictly higher goes first in the queue of the router.'),
  osl: uint32.min(1).nullish().describe('Output tokens expected.'),
  latency_sensitivity: z.number().min(-1e9).max(1e9).nullish().describe('Older name of priority, for the queue only.'),
  speculative_prefill: z
    .boolean()
    .nullish()
    .describe('Whether the beginning of the next turn is computed once this one has ended. Needs one choice.'),
  prefix_id: sessionId.nullish().describe('Session of requests with a common beginning.'),
  total_requests: uint32
    .nullish()
    .describe('Requests of the session in all: after the last no next turn is computed in advance.'),
  iat: z
    .number()
    .min(0)
    .max(86_400_000)
    .nullish()
    .describe('Milliseconds between them; with total_requests the ttl of a cache_control that has none.'),
  kv_isolation: z
    .enum(kvIsolations)
    .nullish()
    .describe('Whose cached prompts are kept apart: those of a subagent, or those of any session. Default none.'),
});

/** The hints that mean something where nothing is generated. */
const embeddingHints = agentHints.pick({
  priority: true,
  strict_priority: true,
  latency_sensitivity: true,
  prefix_id: true,
});

const routingConstraints = z.strictObject({
  required_taints: z.array(taint).max(64).nullish().describe('The worker carries all of them.'),
  preferred_taints: z
    .record(taint, z.number().min(-1e6).max(1e6))
    .refine((weights) => Object.keys(weights).length <= 64, 'must have at most 64 entries')
    .nullish()
    .describe('Weights of taints that make a worker cheaper; negative: dearer.'),
  allowed_worker_ids: z.array(instanceIdField).min(1).max(1024).nullish().describe('Only these workers.'),
});

const routerWishes = z.strictObject({
  ttft_target: milliseconds.nullish().describe('Milliseconds to the first token; misses are counted.'),
  itl_target: milliseconds.nullish().describe('Mean milliseconds between tokens; misses are counted.'),
  mode: z
    .enum([
      'round-robin',
      'random',
      'power-of-two',
      'least-loaded',
      'direct',
      'kv',
      'device-aware-weighted',
      'token-balance',
    ])
    .nullish()
    .describe('How the worker is chosen, for this request only.'),
  overlap_credit: z.number().min(0).max(1e6).nullish().describe('Weight of cached device blocks in the cost.'),
  prefill_load_scale: z.number().min(0).max(1e6).nullish().describe('Weight of work that waits to be prefilled.'),
  temperature: z.number().min(0).max(1e6).nullish().describe('Temperature of the choice; 0: always the cheapest.'),
});

const sessionControl = z.strictObject({
  session_id: sessionId,
  action: z
    .enum(['bind', 'open', 'close'])
    .nullish()
    .describe('All bind the session to its worker; open keeps its prompt cached, close ends that. Default bind.'),
  timeout: z.int().min(1).max(86_400).nullish().describe('Seconds that open keeps it; at most 3600 count.'),
});

const agentContext = z.strictObject({
  session_id: sessionId,
  session_type_id: z.string().max(256).nullish(),
  trajectory_id: z.string().max(256).nullish(),
  parent_trajectory_id: z.string().max(256).nullish(),
  trajectory_final: z.boolean().nullish(),
});

const cacheControl = z.strictObject({
  type: z.literal('ephemeral'),
  ttl: z
    .union([z.int().min(1), z.string().regex(/^[1-9]\d{0,8}[smh]$/, 'must be a number with s, m or h')])
    .nullish()
    .describe('Seconds, or as in "90s", "5m", "1h"; at most an hour counts.'),
});

/** The extension object of NVIDIA Dynamo's clients. Other keys are refused; docs/nvext.md says what each one does. */
export const nvext = z
  .strictObject({
    greed_sampling: z.boolean().nullish().describe('Greedy, whatever temperature and top_p say.'),
    use_raw_prompt: z.boolean().nullish().describe('Chat: the text of the messages is the prompt, without a template.'),
    annotations: z.array(annotation).max(16).nullish().describe('Extra events in front of a stream.'),
    backend_instance_id: instanceIdField.nullish().describe('Worker that must serve the request.'),
    decode_worker_id: instanceIdField.nullish().describe('Worker that must decode; where one does both, the same.'),
    prefill_worker_id: instanceIdField.nullish().describe('Worker that must prefill; where one does both, the same.'),
    dp_rank: uint32.nullish().describe('Data parallel rank that must serve the request; 4294967295: any.'),
    prefill_dp_rank: uint32.nullish().describe('The same for prefill.'),
    token_data: z.array(uint32).min(1).nullish().describe('Prompt as token ids, instead of tokenizing.'),
    max_thinking_tokens: uint32.nullish().describe('Not offered.'),
    cache_salt: z
      .string()
      .max(512)
      .nullish()
      .describe('Separates prefix caches; wins over the cache_salt of the request.'),
    extra_fields: z
      .array(
        z.enum([
          'worker_id',
          'timing',
          'stop_reason',
          'detailed_finish_reason',
          'completion_token_ids',
          'prompt_token_ids',
          'prompt_logprobs',
          'routed_experts',
          'engine_data',
        ]),
      )
      .max(16)
      .nullish()
      .describe('Fields wanted in the nvext object of the answer; routed_experts and engine_data are not offered.'),
    metadata_upload: z
      .strictObject({ url: z.string().min(1).max(2048) })
      .nullish()
      .describe('Not offered.'),
    agent_hints: agentHints.nullish(),
    request_timestamp_ms: z
      .number()
      .min(0)
      .max(8.64e15)
      .nullish()
      .describe('Unix time in milliseconds at which it arrived, for the order of the queue; at most an hour ago.'),
    routing_constraints: routingConstraints.nullish(),
    router: routerWishes.nullish(),
    session_control: sessionControl.nullish(),
    agent_context: agentContext.nullish(),
    cache_control: cacheControl.nullish().describe('The prompt stays cached so long after the request.'),
  })
  .meta({ id: 'Nvext' });

export type Nvext = z.infer<typeof nvext>;

/** The part of it that means something where nothing is generated. */
export const embeddingNvext = nvext
  .pick({
    annotations: true,
    backend_instance_id: true,
    decode_worker_id: true,
    prefill_worker_id: true,
    dp_rank: true,
    prefill_dp_rank: true,
    request_timestamp_ms: true,
    routing_constraints: true,
    agent_context: true,
  })
  .extend({
    agent_hints: embeddingHints.nullish(),
    router: routerWishes.omit({ ttft_target: true, itl_target: true }).nullish(),
    session_control: sessionControl
      .omit({ timeout: true })
      .extend({ action: z.literal('bind').nullish() })
      .nullish(),
  })
  .meta({ id: 'EmbeddingNvext' });
