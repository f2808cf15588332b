import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../../context.ts';
import type { Endpoint } from '../../metrics/metrics.ts';
import { renderAnswer } from '../../output/unary-answer.ts';
import { RequestRecord } from '../../telemetry/request-record.ts';
import { embeddingsBody } from '../routes/embeddings.ts';
import { runToEnd } from '../routes/generate.ts';
import { noteModel } from '../routes/note-model.ts';
import { chatRequest } from '../schemas/chat.ts';
import { completionRequest } from '../schemas/completion.ts';
import { refuseDeprecated } from '../schemas/deprecated.ts';
import { translateChat } from '../translate/chat.ts';
import { inClientTerms } from '../translate/client-terms.ts';
import { translateCompletion } from '../translate/completion.ts';
import { headerWishes } from '../translate/header-wishes.ts';
import type { Job } from '../translate/job.ts';
import { translateInput } from '../translate-input.ts';
import { validateBody } from '../validate.ts';
import type { BatchEndpoint } from './schema.ts';

const names: Readonly<Record<BatchEndpoint, Endpoint>> = {
  '/v1/chat/completions': 'chat_completions',
  '/v1/completions': 'completions',
  '/v1/embeddings': 'embeddings',
};

/** Answers one request of a batch as its path would, as JSON; throws StatorError. */
export async function answerLine(
  ctx: GatewayContext,
  path: BatchEndpoint,
  body: Readonly<Record<string, unknown>>,
  { requestId, signal }: { requestId: string; signal: AbortSignal },
): Promise<string> {
  const record = new RequestRecord(ctx, { endpoint: names[path], requestId, method: 'POST', path, traceparent: '' });
  noteModel(record, body);
  try {
    if (body['stream'] === true)
      throw StatorError.invalid('stream', 'Validation: `stream`: requests of a batch are answered as a whole');
    const answer = await record.within(() => run(ctx, record, path, body, signal));
    record.end(null);
    return answer;
  } catch (thrown) {
    const error = inClientTerms(StatorError.from(signal.aborted ? signal.reason : thrown));
    record.end(error);
    throw error;
  }
}

async function run(
  ctx: GatewayContext,
  record: RequestRecord,
  path: BatchEndpoint,
  body: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
): Promise<string> {
  const headers = headerWishes([]);
  if (path === '/v1/embeddings') return embeddingsBody(ctx, record, body, { headers, signal });
  const job = jobOf(ctx, path, body);
  if (job.plan.dryRun !== null)
    throw StatorError.unsupported(
      'nvext.annotations',
      '`nvext.annotations`: batches do not say where requests would go',
    );
  return renderAnswer(job.plan, await runToEnd(ctx, record, job, signal));
}

function jobOf(ctx: GatewayContext, path: BatchEndpoint, body: Readonly<Record<string, unknown>>): Job {
  const headers = headerWishes([]);
  if (path === '/v1/completions') {
    const valid = validateBody(completionRequest, body);
    return translateCompletion(valid, ctx.catalog.resolve(valid.model), headers, translateInput(ctx));
  }
  refuseDeprecated(body);
  const valid = validateBody(chatRequest, body);
  return translateChat(valid, ctx.catalog.resolve(valid.model), headers, translateInput(ctx));
}
