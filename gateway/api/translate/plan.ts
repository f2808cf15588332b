import type { ResolvedModel } from '../../models/catalog.ts';
import type { ChatRequestBody } from '../schemas/chat.ts';
import type { CompletionRequestBody } from '../schemas/completion.ts';
import type { StreamOptions } from './common.ts';
import type { AnswerPlan, TranslateInput } from './job.ts';

/** How the answer to a body is written. */
export function answerPlan(
  kind: 'chat' | 'completion',
  body: ChatRequestBody | CompletionRequestBody,
  model: ResolvedModel,
  stream: StreamOptions,
  input: TranslateInput,
): AnswerPlan {
  const logprobs = kind === 'chat' ? body.logprobs === true : typeof body.logprobs === 'number';
  const digest = Buffer.from(model.entry.card.digest.subarray(0, 6)).toString('hex');
  return {
    kind,
    id: `${kind === 'chat' ? 'chatcmpl' : 'cmpl'}-${input.requestId}`,
    createdUnix: Math.floor(input.nowMs / 1000),
    model: model.adapter === '' ? model.entry.name : model.adapter,
    fingerprint: `stator-${digest}`,
    stream,
    logprobs,
    tokensAsIds: body.return_tokens_as_token_ids ?? false,
    promptLogprobs: typeof body.prompt_logprobs === 'number',
    echo: 'echo' in body && body.echo === true,
    annotations: stream.stream ? (body.nvext?.annotations ?? []) : [],
    extraFields: new Set(body.nvext?.extra_fields ?? []),
  };
}

/** What the client says of itself, for the trace. */
export function traceAttributesOf(
  body: ChatRequestBody | CompletionRequestBody,
  metadata: Readonly<Record<string, string>>,
): Record<string, string> {
  const attributes: Record<string, string> = {};
  if (body.user) attributes['enduser.id'] = body.user;
  for (const [key, value] of Object.entries(metadata).slice(0, 16)) attributes[`stator.metadata.${key}`] = value;
  return attributes;
}
