import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../../context.ts';
import type { FieldNames } from '../field-names.ts';
import { translateChat } from '../translate/chat.ts';
import type { HeaderWishes } from '../translate/header-wishes.ts';
import type { Job } from '../translate/job.ts';
import { translateInput } from '../translate-input.ts';
import type { ResolvedBody, ResponsesRequestBody } from './schema.ts';
import type { StoredResponses } from './stored.ts';
import { responseToChat, type TranslatedResponse } from './to-chat.ts';

/** What a response runs as. */
export interface PreparedResponse {
  readonly job: Job;
  /** Whether reasoning also comes in the form that clients keep for stateless use. */
  readonly encrypted: boolean;
  readonly names: FieldNames;
}

/** Throws StatorError naming what cannot be had, and `not_found` for an earlier response that is gone. */
export async function preparedResponse(
  ctx: GatewayContext,
  responses: StoredResponses,
  body: ResolvedBody<ResponsesRequestBody>,
  headers: HeaderWishes,
): Promise<PreparedResponse> {
  const earlier = body.previous_response_id ? await responses.conversation(body.previous_response_id) : [];
  const translated = responseToChat(body, earlier);
  const encrypted = body.include?.includes('reasoning.encrypted_content') ?? false;
  return { job: responseJob(ctx, translated, headers), encrypted, names: translated.names };
}

export function responseJob(ctx: GatewayContext, { chat, names }: TranslatedResponse, headers: HeaderWishes): Job {
  const model = ctx.catalog.resolve(chat.model);
  let job: Job;
  try {
    job = translateChat(chat, model, headers, translateInput(ctx));
  } catch (thrown) {
    throw names.inClientTerms(StatorError.from(thrown));
  }
  if (job.plan.dryRun === null) return job;
  const message = '`nvext.annotations`: `query_instance_id:` is answered by /v1/chat/completions';
  throw StatorError.unsupported('nvext.annotations', message);
}
