import { create } from '@bufbuild/protobuf';
import { servesApart } from '#core/models/serving.ts';
import { GuidedMode, type ModelCard, Task } from '#gen/stator/model/v1/model_pb.ts';
import { ChatPromptSchema, TextPromptSchema, TokenPromptSchema } from '#gen/stator/tokenizer/v1/tokenizer_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { agentFactsOf } from '../../agents/facts.ts';
import type { ResolvedModel } from '../../models/catalog.ts';
import { type AnswerRules, answerConstraint, strictToolsTrusted, trustsStrictTools } from '../../parsing/constraint.ts';
import { formatsOf, type ModelFormats, withoutReasoning } from '../../parsing/formats.ts';
import { needsParsing, type ParsingWishes } from '../../parsing/wishes.ts';
import { checkCard } from '../../pipeline/check-card.ts';
import type { GenerationRequest } from '../../pipeline/request.ts';
import type { ChatRequestBody } from '../schemas/chat.ts';
import { checkTokenIds, guidedOf, promptLogprobsOf, samplingOf, stopOf, streamOptionsOf } from './common.ts';
import type { HeaderWishes } from './header-wishes.ts';
import type { Job, NamedGuided, TranslateInput } from './job.ts';
import { jsonText } from './json-text.ts';
import { chatMessagesOf, rawPromptOf, toolsOf } from './messages.ts';
import { answerPlan, traceAttributesOf } from './plan.ts';
import { fillsContentOf, templateArgsOf, thinkingOf } from './reasoning.ts';
import { cacheSaltOf, priorityOf, routingOf, statedIdentity, timeoutOf } from './routing.ts';
import { type OfferedTools, offeredSchemasOf, offeredToolsOf } from './tools.ts';

/** What `response_format` or a `guided_*` field asks of the content. */
function contentConstraint(body: ChatRequestBody): NamedGuided | null {
  const guided = guidedOf(body);
  const format = body.response_format;
  if (!format || format.type === 'text') return guided;
  if (guided !== null) {
    throw StatorError.invalid(
      guided.field,
      `Validation: \`${guided.field}\` cannot be combined with \`response_format\``,
    );
  }
  const field = 'response_format';
  if (format.type === 'json_object') return { guided: { case: 'jsonObject', value: true }, field };
  if (format.type === 'structural_tag')
    return { guided: { case: 'structuralTag', value: jsonText(format, field) }, field };
  const value = jsonText(format.json_schema.schema ?? {}, 'response_format.json_schema.schema');
  return { guided: { case: 'jsonSchema', value }, field };
}

function rulesOf(body: ChatRequestBody, card: ModelCard, offered: OfferedTools, input: TranslateInput): AnswerRules {
  const { choice, parallel } = offered;
  const content = contentConstraint(body);
  return {
    card,
    tools: offeredSchemasOf(offered.tools),
    choice,
    parallel,
    content,
    contentOrCalls: content?.field === 'response_format',
    enforceStrict: input.enforceStrict ?? true,
    fields: { toolChoice: 'tool_choice', tools: 'tools', strict: (index) => `tools[${index}].function.strict` },
  };
}

/** How the answer is split; null: all of it is content. */
function parsingOf(body: ChatRequestBody, offered: OfferedTools, formats: ModelFormats, structured: boolean) {
  const separate = body.separate_reasoning ?? true;
  const wishes: ParsingWishes = {
    formats: separate ? formats : withoutReasoning(formats),
    tools: offeredSchemasOf(offered.tools),
    toolChoice: offered.choice,
    parallelToolCalls: offered.parallel,
    structured,
    thinking: thinkingOf(body),
    continuesReasoning: body.continue_final_message === true ? leavesReasoningOpen(body, formats) : null,
    showReasoning: body.include_reasoning ?? true,
    fillsContent: fillsContentOf(body),
  };
  return needsParsing(wishes) ? wishes : null;
}

/** Whether the last message, which the model continues, ends inside of reasoning. */
function leavesReasoningOpen(body: ChatRequestBody, { reasoning }: ModelFormats): boolean {
  const last = body.messages.at(-1);
  if (last === undefined || reasoning === null) return false;
  const text = rawPromptOf([last]);
  const lastOf = (markers: readonly string[]): number => Math.max(-1, ...markers.map((one) => text.lastIndexOf(one)));
  return lastOf(reasoning.opens) > lastOf(reasoning.closes);
}

function promptOf(body: ChatRequestBody, model: ResolvedModel, { tools }: OfferedTools): GenerationRequest['prompt'] {
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
    tools: toolsOf(tools),
    addGenerationPrompt: opened,
    continueFinalMessage: continued,
    templateArgsJson: Object.keys(args).length === 0 ? '' : jsonText(args, 'chat_template_args'),
  });
  return { case: 'chat', value };
}

/** Whether the answer is JSON from its first token on: engines that can leave room for reasoning are asked to. */
function forcesJson(constraint: NamedGuided | null, { capabilities }: ModelCard): boolean {
  const kind = constraint?.guided.case;
  const json = kind === 'jsonSchema' || kind === 'jsonObject';
  return json && capabilities?.guidedModes.includes(GuidedMode.STRUCTURAL_TAG) !== true;
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
  const formats = formatsOf(model.entry.card);
  const offered = offeredToolsOf(body, formats, model.entry.name);
  const { card } = model.entry;
  const rules = rulesOf(body, card, offered, input);
  const constraint = answerConstraint(rules);
  const maxTokens = body.max_completion_tokens ?? body.max_tokens ?? null;
  const annotations = stream.stream ? (body.nvext?.annotations ?? []) : [];
  const stop = stopOf(body, maxTokens, model);
  const request: GenerationRequest = {
    requestId: input.requestId,
    model,
    prompt: promptOf(body, model, offered),
    choices: body.n ?? 1,
    sampling: samplingOf(body, model),
    stop,
    topLogprobs: logprobsOf(body),
    promptLogprobs: promptLogprobsOf(body),
    specialTokens: !(body.skip_special_tokens ?? true),
    guided: constraint?.guided ?? null,
    guidedField: constraint?.field ?? '',
    parsing: parsingOf(body, offered, formats, forcesJson(constraint, card)),
    cacheSalt: cacheSaltOf(body, headers),
    priority: priorityOf(body, headers),
    routing: routingOf(body, headers, stop, { ...input, apart: servesApart(model.entry) }),
    agent: agentFactsOf(body, statedIdentity(body, headers), input),
    returnPromptText: annotations.includes('formatted_prompt'),
    timeoutMs: timeoutOf(headers, input),
    traceparent: headers.traceparent,
    tracestate: headers.tracestate,
  };
  const seedGiven = body.seed !== null && body.seed !== undefined;
  checkCard(request, Task.CHAT, { guided: constraint?.field ?? '', logprobs: 'top_logprobs', seedGiven });
  const plan = answerPlan('chat', body, model, stream, input);
  const traceAttributes = traceAttributesOf(body, headers, body.metadata ?? {}, input);
  const trusted = trustsStrictTools(rules) ? { notEnforced: strictToolsTrusted } : {};
  return { plan, requests: [request], traceAttributes, ...trusted };
}
