/** Why answers differ. The first reason that fits a difference holds. */
export interface Reason {
  readonly title: string;
  readonly because: string;
  /** The requests it holds for; default: all. */
  readonly request?: RegExp;
  readonly server?: 'llama.cpp' | 'vllm';
  readonly place: RegExp;
  /** What the other server has there. */
  readonly theirs?: RegExp;
}

const vllmFields = [
  'prompt_text|prompt_token_ids|prompt_logprobs|kv_transfer_params|ec_transfer_params|metrics|routed_experts|token_ids',
  'stop_reason|phase|input_messages|output_messages|prompt|frequency_penalty|presence_penalty|cache_write_tokens',
  '\\w+_per_turn|tool_output_tokens|system_fingerprint|context_management|annotations|audio|function_call|reasoning',
  'service_tier|root|parent|permission|max_model_len',
].join('|');

/** Every difference has one of these; one that nothing needs is a fault too. */
export const reasons: readonly Reason[] = [
  {
    title: 'What others answer and we refuse',
    because:
      'Values out of range, fields that are unknown, roles that are none, and options without what they belong to are refused with the name of the field: nothing is ignored in silence, and a typing error does not become another answer. A model must be named, because a gateway has many. `application/json` must be said.',
    request: /refused/,
    place: /^status$/,
    theirs: /^(200|no answer in time)$/,
  },
  {
    title: 'Statuses of refusals',
    because:
      "A model is found by its name under `/v1/models/{id}`, as with OpenAI. A body that cannot be read is the caller's fault (400), a content type is 415, a method that a path does not take is 405, and a model that does not embed, score or classify is 400 `unsupported` naming `model`: the path is there for others. The other servers have one model and leave such paths out, or answer 500 or 501.",
    place: /^status$/,
    theirs: /^(400|404|405|500|501)$/,
  },
  {
    title: 'Errors',
    because:
      "`type` and `code` are OpenAI's kinds: `code` is a stable word of [errors.md](errors.md), not the status again; `param` names the field; `details` has the numbers. Under `/v1/messages` errors have Anthropic's shape. Paths and methods that are none get the same shape as everything else.",
    place: /^error|^detail$|^(type|request_id)$/,
  },
  {
    title: 'Figures and fields of one engine',
    because:
      'Timings, token ids, transfer parameters, metrics and the like are parts of one engine. Ours are in `nvext`, where a client asks for them ([nvext.md](nvext.md)), and not in every answer.',
    place: /^timings$|(^|\.)(meta|tags)$|^models$|logprobs\.content\[\]\.id$/,
  },
  {
    title: "Fields of vLLM's that are null or its own",
    because:
      'vLLM writes fields that are null, and fields of its own. Clients read what is absent as null. Ours are in `nvext`.',
    server: 'vllm',
    place: new RegExp(`(^|\\.|\\])(${vllmFields})$`),
    theirs: /null|string|number|array|object|boolean/,
  },
  {
    title: 'Fields that OpenAI has and others leave out',
    because:
      "`logprobs`, `refusal`, `completion_tokens_details` and `prompt_tokens_details` are there as OpenAI's own answers have them; typed clients rely on them.",
    place: /(logprobs|refusal|(completion|prompt)_tokens_details(\.\w+)?)$/,
    theirs: /^(none|null|object)$/,
  },
  {
    title: 'Content that is null',
    because:
      'In streams the first chunk has empty text, as with OpenAI; others have null there. An answer that has only calls has null as its content, as with OpenAI; others have empty text.',
    place: /\.(delta|message)\.content$/,
  },
  {
    title: 'Forced calls',
    because:
      "`tool_choice` = `required` forces a call with every model here, by a grammar. llama.cpp's server needs a template that knows tools.",
    request: /must call/,
    server: 'llama.cpp',
    place: /tool_calls$/,
  },
  {
    title: 'Usage in streams',
    because:
      "With `include_usage` chunks have `usage` = null and the last one the figures, as OpenAI says. llama.cpp's server gives usage of completions unasked.",
    place: /^usage$/,
  },
  {
    title: 'Log-probabilities of completions',
    because: "OpenAI's older shape belongs to completions. llama.cpp's server gives the shape of chats.",
    request: /^completions: log-probabilities$/,
    server: 'llama.cpp',
    place: /logprobs\.\w+$/,
  },
  {
    title: 'Tokens',
    because:
      "`/tokenize` and `/detokenize` are vLLM's. llama.cpp's server has other fields under the same paths: it reads `content` and knows no conversations.",
    request: /^(de)?tokenize/,
    place: /./,
  },
  {
    title: 'Models',
    because:
      "A model has its context window, its longest output and its aliases, as Dynamo's and Anthropic's clients look for them.",
    request: /^models/,
    place:
      /^(data\[\]\.)?(aliases(\[\])?|context_window|max_output_tokens|root|parent|permission(\[\].*)?|max_model_len)$/,
  },
  {
    title: 'Responses',
    because:
      'The whole object of OpenAI, with what was asked and with defaults, and every event with its number and indices: the typed clients need them.',
    request: /^responses/,
    place: /./,
  },
  {
    title: 'Messages',
    because:
      "`usage` has both counts of cached tokens, `stop_sequence` and `citations` are there when null, and streams have `ping`, as Anthropic's answers do.",
    request: /^messages/,
    place: /./,
  },
  {
    title: 'Health',
    because: 'The body says what is missing, and which models and workers there are.',
    request: /^health$/,
    place: /./,
  },
];
