import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../../context.ts';
import { type Exchange, queryOf, sendJson } from '../../http/exchange.ts';
import type { RouteParams } from '../../http/route-table.ts';
import type { EventFormat } from '../../output/event-answer.ts';
import { countChatTokens } from '../../pipeline/count-tokens.ts';
import { eventHeaders } from '../../sse/sse-socket.ts';
import type { RequestRecord } from '../../telemetry/request-record.ts';
import { pageAsked, pageOf } from '../page.ts';
import { followEvents } from '../responses/follow-events.ts';
import { responseHead, storedItems } from '../responses/head.ts';
import { preparedResponse, responseJob } from '../responses/prepared.ts';
import { ResponseRecorder } from '../responses/recorder.ts';
import { runInBackground } from '../responses/run-background.ts';
import { inputTokensRequest, type ResponsesRequestBody, responsesRequest, withItemTypes } from '../responses/schema.ts';
import { type StoredResponse, StoredResponses, unheld } from '../responses/stored.ts';
import { responseToChat } from '../responses/to-chat.ts';
import { headerWishes } from '../translate/header-wishes.ts';
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
  const headers = headerWishes(exchange.request.rawHeaders);
  const { job, encrypted, names } = await preparedResponse(ctx, responses, valid, headers);
  const recorder = new ResponseRecorder(responseHead(valid, job.plan.model), encrypted);
  const input = storedItems(valid.input);
  if (valid.background === true) {
    const begun = JSON.stringify(recorder.response);
    const { input: _, ...rest } = valid;
    const { requestId } = exchange;
    await runInBackground(ctx, { job, recorder, input, responses, asked: { body: rest, headers, requestId } });
    record.end(null);
    if (valid.stream === true) await tell(ctx, exchange, recorder.response.id, -1);
    else sendJson(exchange, 200, begun);
    return;
  }
  const keep = async (): Promise<void> => {
    if (recorder.response.store) await responses.put({ ...unheld, response: recorder.response, input });
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
    throw names.inClientTerms(StatorError.from(thrown));
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
  const headers = headerWishes(exchange.request.rawHeaders);
  const [request] = responseJob(ctx, responseToChat(valid, earlier), headers).requests;
  const tokens = await countChatTokens(ctx, request, exchange.signal);
  sendJson(exchange, 200, `{"object":"response.input_tokens","input_tokens":${tokens}}`);
  record.end(null);
}

function checkModes({ background, stream, store, stream_options: options }: ResponsesRequestBody): void {
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

/** GET /v1/responses/{id} */
export async function getResponse(ctx: GatewayContext, exchange: Exchange, { id = '' }: RouteParams): Promise<void> {
  const asked = streamAsked(exchange);
  const { response, streamed } = await storedOf(ctx, id);
  if (asked === null) {
    sendJson(exchange, 200, JSON.stringify(response));
    return;
  }
  if (!streamed) {
    const message = `\`stream\`: \`${id}\` was not asked for with \`background\` and \`stream\`, so that no events are stored`;
    throw StatorError.invalid('stream', message);
  }
  await tell(ctx, exchange, response.id, asked.startingAfter);
}

/** Null: the response is asked for whole. */
function streamAsked(exchange: Exchange): { readonly startingAfter: number } | null {
  const query = queryOf(exchange);
  const [stream, after] = [query.get('stream') ?? 'false', query.get('starting_after')];
  if (stream !== 'true' && stream !== 'false')
    throw StatorError.invalid('stream', '`stream` must be `true` or `false`');
  if (after !== null && !/^\d{1,9}$/.test(after))
    throw StatorError.invalid('starting_after', '`starting_after` must be the number of an event');
  if (after !== null && stream === 'false')
    throw StatorError.invalid('starting_after', '`starting_after` is only allowed with `stream` = true');
  return stream === 'true' ? { startingAfter: after === null ? -1 : Number(after) } : null;
}

/** Streams the events of a response in the background; the response goes on where the client leaves. */
async function tell(ctx: GatewayContext, exchange: Exchange, id: string, startingAfter: number): Promise<void> {
  const { response, signal } = exchange;
  const responses = new StoredResponses(ctx.store, ctx.config);
  const events = followEvents({
    ...{ responses, startingAfter, signal, place: responses.eventsOf(id) },
    changed: () => ctx.background.changed(id),
    keepAliveMs: ctx.config.sseKeepaliveSeconds * 1000,
  });
  response.writeHead(200, eventHeaders);
  response.flushHeaders();
  try {
    await pipeline(Readable.from(events), response, { signal });
  } catch (thrown) {
    // The client left, or the store is gone: who lost the stream asks for the rest.
    ctx.telemetry.log.debug({ err: thrown, response_id: id }, 'a stream of events ended early');
    response.destroy();
  }
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
