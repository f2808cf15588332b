import { randomUUID } from 'node:crypto';
import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../../context.ts';
import { type Exchange, sendJson } from '../../http/exchange.ts';
import { countChatTokens } from '../../pipeline/count-tokens.ts';
import type { RequestRecord } from '../../telemetry/request-record.ts';
import { keepSecondsOf } from '../anthropic/keep-seconds.ts';
import { MessageFormat, renderMessage } from '../anthropic/message-format.ts';
import { countTokensRequest, messagesRequest } from '../anthropic/schema.ts';
import { messagesToChat, type TranslatedMessages } from '../anthropic/to-chat.ts';
import { translateChat } from '../translate/chat.ts';
import { type HeaderWishes, headerWishes } from '../translate/header-wishes.ts';
import type { Job } from '../translate/job.ts';
import { translateInput } from '../translate-input.ts';
import { validateBody } from '../validate.ts';
import { answerShaped } from './generate.ts';
import { noteModel } from './note-model.ts';

/** POST /v1/messages */
export async function messages(
  ctx: GatewayContext,
  exchange: Exchange,
  record: RequestRecord,
  body: unknown,
): Promise<void> {
  noteModel(record, body);
  beginAnthropic(exchange);
  const valid = validateBody(messagesRequest, body);
  const translated = messagesToChat(valid);
  const job = jobOf(ctx, translated, headerWishes(exchange.request.rawHeaders), keepSecondsOf(valid));
  if (job.plan.dryRun !== null) {
    const message = '`nvext.annotations`: `query_instance_id:` is answered by /v1/chat/completions';
    throw StatorError.unsupported('nvext.annotations', message);
  }
  const { requestId } = exchange;
  const head = { id: `msg_${randomUUID().replaceAll('-', '')}`, model: job.plan.model, requestId };
  try {
    await answerShaped(ctx, exchange, record, job, {
      format: () => new MessageFormat(head),
      render: (generation, choice) => renderMessage(head, generation, choice),
    });
  } catch (thrown) {
    throw translated.names.inClientTerms(StatorError.from(thrown));
  }
}

/** POST /v1/messages/count_tokens */
export async function countMessageTokens(
  ctx: GatewayContext,
  exchange: Exchange,
  record: RequestRecord,
  body: unknown,
): Promise<void> {
  noteModel(record, body);
  beginAnthropic(exchange);
  const translated = messagesToChat(validateBody(countTokensRequest, body));
  const job = jobOf(ctx, translated, headerWishes(exchange.request.rawHeaders));
  const [request] = job.requests;
  const tokens = await countChatTokens(ctx, request, exchange.signal);
  sendJson(exchange, 200, `{"input_tokens":${tokens}}`);
  record.end(null);
}

function jobOf(
  ctx: GatewayContext,
  { chat, names }: TranslatedMessages,
  headers: HeaderWishes,
  keepSeconds: number | null = null,
): Job {
  const model = ctx.catalog.resolve(chat.model);
  try {
    return fitting(translateChat(chat, model, headers, { ...translateInput(ctx), keepSeconds }));
  } catch (thrown) {
    throw names.inClientTerms(StatorError.from(thrown));
  }
}

/** `max_tokens` is required here, so it is a bound beside that of the context, not what is reserved. */
function fitting(job: Job): Job {
  return { ...job, requests: job.requests.map((one) => ({ ...one, stop: { ...one.stop, fitsContext: true } })) };
}

/** There is one version of the API; absent: the same. Its clients look for the request's id under a name of their own. */
function beginAnthropic({ request, response, requestId }: Exchange): void {
  response.setHeader('request-id', requestId);
  const version = request.headers['anthropic-version'];
  if (version === undefined || (typeof version === 'string' && /^\d{4}-\d{2}-\d{2}$/.test(version))) return;
  throw StatorError.invalid('anthropic-version', '`anthropic-version` must be a date like 2023-06-01');
}
