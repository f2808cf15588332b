import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../../context.ts';
import { type Exchange, queryOf, sendJson } from '../../http/exchange.ts';
import type { RouteParams } from '../../http/route-table.ts';
import type { EventFormat } from '../../output/event-answer.ts';
import { countChatTokens } from '../../pipeline/count-tokens.ts';
import type { RequestRecord } from '../../telemetry/request-record.ts';
import { pageAsked, pageOf } from '../page.ts';
import { responseHead, storedItems } from '../responses/head.ts';
import { ResponseRecorder } from '../responses/recorder.ts';
import { runInBackground } from '../responses/run-background.ts';
import { inputTokensRequest, type ResponsesRequestBody, responsesRequest, withItemTypes } from '../responses/schema.ts';
import { type StoredResponse, StoredResponses } from '../responses/stored.ts';
import { responseToChat, type TranslatedResponse } from '../responses/to-chat.ts';
import { translateChat } from '../translate/chat.ts';
import { headerWishes } from '../translate/header-wishes.ts';
import type { Job } from '../translate/job.ts';
import { translateInput } from '../translate-input.ts';
import { validateBody } from '../validate.ts';
import { answerShaped } from './generate.ts';
import { noteModel } from './note-model.ts';

/** POST /v1/responses */
export async function createResponse(
  ctx: GatewayContext,
  exchange: Exchange,
  record: RequestRecord,
  body: unknown,
): Promise<void> {
  noteModel(record, body);
  const asked = validateBody(responsesRequest, withItemTypes(body));
  checkModes(asked);
  const responses = new StoredResponses(ctx.store, ctx.config);
  const valid = { ...asked, input: await responses.resolved(asked.input) };
  const earlier = valid.previous_response_id ? await responses.conversation(valid.previous_response_id) : [];
  const translated = responseToChat(valid, earlier);
  const job = jobOf(ctx, exchange, translated);
  const encrypted = valid.include?.includes('reasoning.encrypted_content') ?? false;
  const recorder = new ResponseRecorder(responseHead(valid, job.plan.model), encrypted);
  const input = storedItems(valid.input);
  if (valid.background === true) {
    const begun = JSON.stringify(recorder.response);
    await runInBackground(ctx, { job, recorder, input, responses, requestId: exchange.requestId });
    sendJson(exchange, 200, begun);
    record.end(null);
    return;
  }
  const keep = async (): Promise<void> => {
    if (recorder.response.store) await responses.put({ response: recorder.response, input, leaseUnixMs: 0 });
  };
  try {
    await answerShaped(ctx, exchange, record, job, {
      format: () => eventsOf(recorder, keep),
      render: async (generation, choice) => {
        recorder.begin();
        for (const part of choice.takeParts()) recorder.part(part);
        recorder.end(generation, choice);
        await keep();
        return JSON.stringify(recorder.response);
      },
    });
  } catch (thrown) {
    throw translated.names.inClientTerms(StatorError.from(thrown));
  }
}

/** POST /v1/responses/input_tokens */
export async function countInputTokens(
  ctx: GatewayContext,
  exchange: Exchange,
  record: RequestRecord,
  body: unknown,
): Promise<void> {
  noteModel(record, body);
  const asked = validateBody(inputTokensRequest, withItemTypes(body));
  const responses = new StoredResponses(ctx.store, ctx.config);
  const valid = { ...asked, input: await responses.resolved(asked.input) };
  const earlier = valid.previous_response_id ? await responses.conversation(valid.previous_response_id) : [];
  const [request] = jobOf(ctx, exchange, responseToChat(valid, earlier)).requests;
  const tokens = await countChatTokens(ctx, request, exchange.signal);
  sendJson(exchange, 200, `{"object":"response.input_tokens","input_tokens":${tokens}}`);
  record.end(null);
}

function checkModes({ background, stream, store, stream_options: options }: ResponsesRequestBody): void {
  if (background && stream)
    throw StatorError.unsupported('stream', '`stream` is not supported together with `background`');
  if (background && store === false)
    throw StatorError.invalid('store', 'Validation: `store`: a response in the background must be stored');
  if (options && !stream)
    throw StatorError.invalid('stream_options', 'Validation: `stream_options` is only allowed with `stream` = true');
}

function eventsOf(recorder: ResponseRecorder, keep: () => Promise<void>): EventFormat {
  return {
    keepAlive: ': keep-alive\n\n',
    open: () => recorder.begin(),
    part: (part) => recorder.part(part),
    close: async (generation, choice) => {
      const last = recorder.end(generation, choice);
      await keep();
      return last;
    },
    fail: (error) => {
      const event = recorder.fail(error);
      keep().catch(() => {});
      return event;
    },
  };
}

function jobOf(ctx: GatewayContext, exchange: Exchange, { chat, names }: TranslatedResponse): Job {
  const model = ctx.catalog.resolve(chat.model);
  let job: Job;
  try {
    job = translateChat(chat, model, headerWishes(exchange.request.rawHeaders), translateInput(ctx));
  } catch (thrown) {
    throw names.inClientTerms(StatorError.from(thrown));
  }
  if (job.plan.dryRun === null) return job;
  const message = '`nvext.annotations`: `query_instance_id:` is answered by /v1/chat/completions';
  throw StatorError.unsupported('nvext.annotations', message);
}

/** GET /v1/responses/{id} */
export async function getResponse(ctx: GatewayContext, exchange: Exchange, { id = '' }: RouteParams): Promise<void> {
  if (queryOf(exchange).get('stream') === 'true')
    throw StatorError.unsupported('stream', '`stream` is not supported for stored responses');
  const { response } = await storedOf(ctx, id);
  sendJson(exchange, 200, JSON.stringify(response));
}

/** DELETE /v1/responses/{id} */
export async function deleteResponse(ctx: GatewayContext, exchange: Exchange, { id = '' }: RouteParams): Promise<void> {
  await new StoredResponses(ctx.store, ctx.config).delete(id);
  await ctx.background.cancel(id);
  sendJson(exchange, 200, JSON.stringify({ id, object: 'response', deleted: true }));
}

/** POST /v1/responses/{id}/cancel */
export async function cancelResponse(ctx: GatewayContext, exchange: Exchange, { id = '' }: RouteParams): Promise<void> {
  const responses = new StoredResponses(ctx.store, ctx.config);
  const { response } = await responses.get(id);
  if (!response.background)
    throw StatorError.invalid('id', `Only responses in the background can be cancelled; \`${id}\` is none.`);
  const changed = await responses.change(id, (stored) => {
    if (stored.response.status !== 'queued' && stored.response.status !== 'in_progress') return false;
    stored.response.status = 'cancelled';
    return true;
  });
  await ctx.background.cancel(id);
  sendJson(exchange, 200, JSON.stringify(changed?.response ?? response));
}

/** GET /v1/responses/{id}/input_items */
export async function listInputItems(ctx: GatewayContext, exchange: Exchange, { id = '' }: RouteParams): Promise<void> {
  const asked = pageAsked(exchange, { limit: 20, most: 100 });
  const { input } = await storedOf(ctx, id);
  const all = input.map((item) => ({ ...item, id: item.id ?? '' }));
  const { items, hasMore } = pageOf(asked.order === 'asc' ? all : all.reverse(), asked);
  const ends = { first_id: items[0]?.id ?? null, last_id: items.at(-1)?.id ?? null };
  sendJson(exchange, 200, JSON.stringify({ object: 'list', data: items, ...ends, has_more: hasMore }));
}

function storedOf(ctx: GatewayContext, id: string): Promise<StoredResponse> {
  return new StoredResponses(ctx.store, ctx.config).get(id);
}
