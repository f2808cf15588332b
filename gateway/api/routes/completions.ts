import type { GatewayContext } from '../../context.ts';
import type { Exchange } from '../../http/exchange.ts';
import type { RequestRecord } from '../../telemetry/request-record.ts';
import { completionRequest } from '../schemas/completion.ts';
import { translateCompletion } from '../translate/completion.ts';
import { headerWishes } from '../translate/header-wishes.ts';
import { translateInput } from '../translate-input.ts';
import { validateBody } from '../validate.ts';
import { answerJob } from './generate.ts';
import { noteModel } from './note-model.ts';

/** POST /v1/completions */
export async function completions(
  ctx: GatewayContext,
  exchange: Exchange,
  record: RequestRecord,
  body: unknown,
): Promise<void> {
  noteModel(record, body);
  const valid = validateBody(completionRequest, body);
  const model = ctx.catalog.resolve(valid.model);
  const job = translateCompletion(valid, model, headerWishes(exchange.request.rawHeaders), translateInput(ctx));
  await answerJob(ctx, exchange, record, job);
}
