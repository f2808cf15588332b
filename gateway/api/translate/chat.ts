import { create } from '@bufbuild/protobuf';
import { Task } from '#gen/stator/model/v1/model_pb.ts';
import { ChatPromptSchema, TextPromptSchema, TokenPromptSchema } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { ResolvedModel } from '../../models/catalog.ts';
import { checkCard } from '../../pipeline/check-card.ts';
import type { GenerationRequest } from '../../pipeline/request.ts';
import type { ChatRequestBody } from '../schemas/chat.ts';
import { checkTokenIds, guidedOf, promptLogprobsOf, samplingOf, stopOf, streamOptionsOf } from './common.ts';
import type { HeaderWishes } from './header-wishes.ts';
import type { Job, NamedGuided, TranslateInput } from './job.ts';
import { jsonText } from './json-text.ts';
import { chatMessagesOf, rawPromptOf, toolsOf } from './messages.ts';
import { answerPlan, traceAttributesOf } from './plan.ts';
import { templateArgsOf } from './reasoning.ts';
import { cacheSaltOf, priorityOf, routingOf, timeoutOf } from './routing.ts';

/** The constraint of `response_format` or of a `guided_*` field. */
function constraintOf(body: ChatRequestBody): NamedGuided | null {
  const guided = guidedOf(body);
  const format = body.response_format;
  if (!format || format.type === 'text') return guided;
  if (guided !== null) {
    throw StatorError.invalid(
      guided.field,
      `Validation: \`${guided.field}\` cannot be combined with \`response_format\``,
    );
  }
  if (format.type === 'json_object') return { guided: { case: 'jsonObject', value: true }, field: 'response_format' };
  const schema = format.json_schema.schema ?? {};
  return {
    guided: { case: 'jsonSchema', value: jsonText(schema, 'response_format.json_schema.schema') },
    field: 'response_format',
  };
}

/** Tools that the template gets. Refused where nobody would recognise the model's calls. */
function offeredTools(body: ChatRequestBody, model: ResolvedModel): NonNullable<ChatRequestBody['tools']> {
  const tools = body.tools ?? [];
  const choice = body.tool_choice;
  if (
    typeof choice === 'object' &&
    choice !== null &&
    !tools.some((tool) => tool.function.name === choice.function.name)
  ) {
    const name = choice.function.name;
    throw StatorError.invalid(
      'tool_choice',
      `Validation: \`tool_choice\`: the tool \`${name}\` is not among \`tools\``,
    );
  }
  if (choice === 'required' && tools.length === 0) {
    throw StatorError.invalid('tool_choice', 'Validation: `tool_choice`: `required` needs `tools`');
  }
  if (tools.length === 0 || choice === 'none') return [];
  if (model.entry.card.toolCallParser === '') {
    throw StatorError.unsupported(
      'tools',
      `\`tools\` is not supported by the model \`${model.entry.name}\`: it has no parser for tool calls`,
    );
  }
  if (choice === 'required' || typeof choice === 'object') {
    if (choice !== null)
      throw StatorError.unsupported('tool_choice', '`tool_choice` can be `none` or `auto`: calls cannot be forced');
  }
  if (body.parallel_tool_calls === false) {
    throw StatorError.unsupported(
      'parallel_tool_calls',
      '`parallel_tool_calls` cannot be false: the number of calls is not limited',
    );
  }
  return tools;
}

function promptOf(body: ChatRequestBody, model: ResolvedModel): GenerationRequest['prompt'] {
  const { nvext } = body;
  if (nvext?.token_data) {
    checkTokenIds(nvext.token_data, 'nvext.token_data', model);
    return { case: 'tokens', value: create(TokenPromptSchema, { tokenIds: nvext.token_data }) };
  }
  const messages = chatMessagesOf(body.messages, model);
  if (nvext?.use_raw_prompt)
    return { case: 'text', value: create(TextPromptSchema, { text: rawPromptOf(body.messages) }) };
  const continued = body.continue_final_message ?? false;
  const opened = body.add_generation_prompt ?? !continued;
  if (continued && opened) {
    throw StatorError.invalid(
      'continue_final_message',
      'Validation: `continue_final_message` contradicts `add_generation_prompt` = true',
    );
  }
  const args = templateArgsOf(body);
  const value = create(ChatPromptSchema, {
    messages,
    tools: toolsOf(offeredTools(body, model)),
    addGenerationPrompt: opened,
    continueFinalMessage: continued,
    templateArgsJson: Object.keys(args).length === 0 ? '' : jsonText(args, 'chat_template_args'),
  });
  return { case: 'chat', value };
}

function logprobsOf(body: ChatRequestBody): number | null {
  const asked = body.logprobs ?? false;
  if (!asked && body.top_logprobs) {
    throw StatorError.invalid('top_logprobs', 'Validation: `top_logprobs` needs `logprobs` = true');
  }
  return asked ? (body.top_logprobs ?? 0) : null;
}

/** A chat request against its model: throws StatorError naming the field of whatever cannot be honoured. */
export function translateChat(
  body: ChatRequestBody,
  model: ResolvedModel,
  headers: HeaderWishes,
  input: TranslateInput,
): Job {
  const stream = streamOptionsOf(body);
  const constraint = constraintOf(body);
  const maxTokens = body.max_completion_tokens ?? body.max_tokens ?? null;
  const annotations = stream.stream ? (body.nvext?.annotations ?? []) : [];
  const stop = stopOf(body, maxTokens, model);
  const request: GenerationRequest = {
    requestId: input.requestId,
    model,
    prompt: promptOf(body, model),
    choices: body.n ?? 1,
    sampling: samplingOf(body, model),
    stop,
    topLogprobs: logprobsOf(body),
    promptLogprobs: promptLogprobsOf(body),
    specialTokens: !(body.skip_special_tokens ?? true),
    guided: constraint?.guided ?? null,
    cacheSalt: cacheSaltOf(body, headers),
    priority: priorityOf(body, headers),
    routing: routingOf(body, headers, stop, input),
    returnPromptText: annotations.includes('formatted_prompt'),
    timeoutMs: timeoutOf(headers, input),
    traceparent: headers.traceparent,
    tracestate: headers.tracestate,
  };
  const seedGiven = body.seed !== null && body.seed !== undefined;
  checkCard(request, Task.CHAT, { guided: constraint?.field ?? '', logprobs: 'top_logprobs', seedGiven });
  const plan = answerPlan('chat', body, model, stream, input);
  return { plan, requests: [request], traceAttributes: traceAttributesOf(body, headers, body.metadata ?? {}) };
}
