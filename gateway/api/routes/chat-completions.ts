import type { GatewayContext } from '../../context.ts';
import type { Exchange } from '../../http/exchange.ts';
import type { RequestRecord } from '../../telemetry/request-record.ts';
import { chatRequest } from '../schemas/chat.ts';
import { refuseDeprecated } from '../schemas/deprecated.ts';
import { translateChat } from '../translate/chat.ts';
import { headerWishes } from '../translate/header-wishes.ts';
import { translateInput } from '../translate-input.ts';
import { validateBody } from '../validate.ts';
import { answerJob } from './generate.ts';
import { noteModel } from './note-model.ts';

/** POST /v1/chat/completions */
export async function chatCompletions(
  ctx: GatewayContext,
  exchange: Exchange,
  record: RequestRecord,
  body: unknown,
): Promise<void> {
  noteModel(record, body);
  refuseDeprecated(body);
  const valid = validateBody(chatRequest, body);
  const model = ctx.catalog.resolve(valid.model);
  const job = translateChat(valid, model, headerWishes(exchange.request.rawHeaders), translateInput(ctx));
  await answerJob(ctx, exchange, record, job);
}
