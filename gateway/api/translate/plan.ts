import { StatorError } from '#lib/errors/errors.ts';
import { sessionOfUser } from '../../agents/body-identity.ts';
import { digestOfSession, type SessionNaming } from '../../agents/redact.ts';
import type { ResolvedModel } from '../../models/catalog.ts';
import type { ChatRequestBody } from '../schemas/chat.ts';
import type { CompletionRequestBody } from '../schemas/completion.ts';
import { dryRunPrefix, type Nvext } from '../schemas/nvext.ts';
import type { StreamOptions } from './common.ts';
import type { HeaderWishes } from './header-wishes.ts';
import type { Annotation, AnswerPlan, ExtraField, TranslateInput } from './job.ts';
import { refuseUnoffered } from './nvext.ts';
import { statedIdentity } from './routing.ts';

/** How the answer to a body is written. */
export function answerPlan(
  kind: 'chat' | 'completion',
  body: ChatRequestBody | CompletionRequestBody,
  model: ResolvedModel,
  stream: StreamOptions,
  input: TranslateInput,
): AnswerPlan {
  refuseUnoffered(body.nvext, model.entry.card);
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
    reasoningField: input.reasoningField ?? 'both',
    dispatches: input.dispatches ?? { calls: false, reasoning: false },
    promptLogprobs: typeof body.prompt_logprobs === 'number',
    echo: 'echo' in body && body.echo === true,
    ...annotationsOf(body.nvext, stream),
    extraFields: new Set(extraFieldsOf(body.nvext)),
  };
}

function annotationsOf(
  nvext: Nvext | null | undefined,
  { stream }: StreamOptions,
): Pick<AnswerPlan, 'annotations' | 'explain' | 'dryRun'> {
  const asked = nvext?.annotations ?? [];
  const annotations = asked.filter((name): name is Annotation => !name.startsWith(dryRunPrefix));
  const dryRun = asked.find((name) => name.startsWith(dryRunPrefix));
  return {
    annotations: stream ? [...new Set(annotations)] : [],
    explain: annotations.includes('routing'),
    dryRun: dryRun === undefined ? null : dryRun.slice(dryRunPrefix.length),
  };
}

function extraFieldsOf(nvext: Nvext | null | undefined): ExtraField[] {
  return (nvext?.extra_fields ?? []).map((name, index) => {
    if (name !== 'routed_experts' && name !== 'engine_data') return name;
    const field = `nvext.extra_fields[${index}]`;
    throw StatorError.unsupported(field, `\`${field}\`: no engine gives \`${name}\`; leave it out`);
  });
}

/** What the client says of itself, for the trace. */
export function traceAttributesOf(
  body: ChatRequestBody | CompletionRequestBody,
  headers: HeaderWishes,
  metadata: Readonly<Record<string, string>>,
  { sessionNaming = digestOfSession }: Pick<TranslateInput, 'sessionNaming'> = {},
): Record<string, string> {
  const attributes: Record<string, string> = { ...identityOf(body, headers, sessionNaming) };
  // Some agents say there which account and session they serve.
  if (body.user) attributes['enduser.id'] = sessionOfUser(body.user) === '' ? body.user : sessionNaming(body.user);
  for (const [key, value] of Object.entries(metadata).slice(0, 16)) attributes[`stator.metadata.${key}`] = value;
  for (const [key, value] of Object.entries(headers.metadata)) attributes[`stator.header.${key}`] = value;
  return attributes;
}

/** Sessions and service goals; sessions under the names that are shown of them. */
function identityOf(
  body: ChatRequestBody | CompletionRequestBody,
  headers: HeaderWishes,
  naming: SessionNaming,
): Record<string, string> {
  const { agent_context: agent, router } = body.nvext ?? {};
  const identity = statedIdentity(body, headers);
  const told = {
    'session.id': naming(identity?.sessionId ?? ''),
    'session.parent_id': naming(identity?.parentSessionId ?? ''),
    'session.final': identity?.isFinal ? 'true' : '',
    'session.source': identity?.source,
    'session.type': agent?.session_type_id,
    'target.ttft_ms': router?.ttft_target?.toString(),
    'target.itl_ms': router?.itl_target?.toString(),
  };
  return Object.fromEntries(
    Object.entries(told).flatMap(([name, value]) => (value ? [[`stator.${name}`, value] as const] : [])),
  );
}
