import { create } from '@bufbuild/protobuf';
import { servesApart } from '#core/models/serving.ts';
import { Task } from '#gen/stator/model/v1/model_pb.ts';
import { TextPromptSchema, TokenPromptSchema } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { agentFactsOf } from '../../agents/facts.ts';
import type { ResolvedModel } from '../../models/catalog.ts';
import { checkCard } from '../../pipeline/check-card.ts';
import type { GenerationRequest } from '../../pipeline/request.ts';
import type { CompletionRequestBody } from '../schemas/completion.ts';
import { checkTokenIds, guidedOf, promptLogprobsOf, samplingOf, stopOf, streamOptionsOf } from './common.ts';
import type { HeaderWishes } from './header-wishes.ts';
import type { Job, TranslateInput } from './job.ts';
import { answerPlan, traceAttributesOf } from './plan.ts';
import { cacheSaltOf, priorityOf, routingOf, statedIdentity, timeoutOf } from './routing.ts';

/** Most choices of one request over all its prompts. */
const mostChoices = 128;

type Prompt = string | readonly number[];

function promptsOf(body: CompletionRequestBody, model: ResolvedModel): readonly Prompt[] {
  const prompts = listOf(body);
  const single = prompts.length === 1;
  const field = body.nvext?.token_data ? 'nvext.token_data' : 'prompt';
  for (const [index, prompt] of prompts.entries()) {
    if (typeof prompt !== 'string') checkTokenIds(prompt, single ? field : `${field}[${index}]`, model);
  }
  return prompts;
}

function listOf(body: CompletionRequestBody): readonly Prompt[] {
  if (body.nvext?.token_data) return [body.nvext.token_data];
  const { prompt } = body;
  if (typeof prompt === 'string') return [prompt];
  const [first] = prompt;
  return typeof first === 'number'
    ? [prompt.filter((item) => typeof item === 'number')]
    : prompt.filter((item) => typeof item !== 'number');
}

/** Alternatives at each place of the prompt; a prompt that is repeated has as many as the output. */
function promptLogprobs(body: CompletionRequestBody, { entry }: ResolvedModel): number | null {
  const asked = promptLogprobsOf(body);
  if (!body.echo || typeof body.logprobs !== 'number') return asked;
  if (entry.card.capabilities?.promptLogprobs !== true) {
    const message = `\`echo\` together with \`logprobs\` is not supported by the model \`${entry.name}\`: its engine gives no log-probabilities of the prompt`;
    throw StatorError.unsupported('echo', message);
  }
  return Math.max(asked ?? 0, body.logprobs);
}

function checkBestOf(body: CompletionRequestBody): void {
  const { best_of: bestOf } = body;
  const n = body.n ?? 1;
  if (bestOf === null || bestOf === undefined || bestOf === n) return;
  if (bestOf < n) throw StatorError.invalid('best_of', `Validation: \`best_of\`: must be at least \`n\` (${n})`);
  throw StatorError.unsupported('best_of', '`best_of` greater than `n` is not supported');
}

/** A completion request against its model; each of several prompts is a generation of its own. */
export function translateCompletion(
  body: CompletionRequestBody,
  model: ResolvedModel,
  headers: HeaderWishes,
  input: TranslateInput,
): Job {
  const stream = streamOptionsOf(body);
  checkBestOf(body);
  const prompts = promptsOf(body, model);
  const choices = body.n ?? 1;
  if (prompts.length * choices > mostChoices) {
    throw StatorError.invalid('n', `Validation: \`n\` times the number of prompts must be at most ${mostChoices}`);
  }
  const guided = guidedOf(body);
  const stop = stopOf(body, body.max_tokens ?? null, model);
  const shared = {
    model,
    choices,
    sampling: samplingOf(body, model),
    stop,
    topLogprobs: body.logprobs ?? null,
    promptLogprobs: promptLogprobs(body, model),
    specialTokens: !(body.skip_special_tokens ?? true),
    guided: guided?.guided ?? null,
    guidedField: guided?.field ?? '',
    parsing: null,
    cacheSalt: cacheSaltOf(body, headers),
    priority: priorityOf(body, headers),
    routing: routingOf(body, headers, stop, { ...input, apart: servesApart(model.entry) }),
    agent: agentFactsOf(body, statedIdentity(body, headers), input),
    returnPromptText:
      body.echo === true || (stream.stream && (body.nvext?.annotations ?? []).includes('formatted_prompt')),
    timeoutMs: timeoutOf(headers, input),
    traceparent: headers.traceparent,
    tracestate: headers.tracestate,
  };
  const addSpecial = body.add_special_tokens;
  const requests = prompts.map(
    (prompt, index): GenerationRequest => ({
      ...shared,
      requestId: prompts.length === 1 ? input.requestId : `${input.requestId}-${index}`,
      prompt:
        typeof prompt === 'string'
          ? {
              case: 'text',
              value: create(TextPromptSchema, {
                text: prompt,
                ...(typeof addSpecial === 'boolean' ? { addSpecialTokens: addSpecial } : {}),
              }),
            }
          : { case: 'tokens', value: create(TokenPromptSchema, { tokenIds: [...prompt] }) },
    }),
  );
  const [first] = requests;
  if (first === undefined) throw StatorError.invalid('prompt', 'Validation: `prompt`: must not be empty');
  const seedGiven = body.seed !== null && body.seed !== undefined;
  checkCard(first, Task.COMPLETION, { guided: guided?.field ?? '', logprobs: 'logprobs', seedGiven });
  const plan = answerPlan('completion', body, model, stream, input);
  return { plan, requests, traceAttributes: traceAttributesOf(body, headers, {}, input) };
}
