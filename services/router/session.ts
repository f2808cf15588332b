import { create } from '@bufbuild/protobuf';
import {
  type RouteRequest,
  type SessionRequest,
  type SessionResponse,
  SessionResponseSchema,
} from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { Outbox } from '#lib/rpc/outbox.ts';
import type { RouterContext } from './context.ts';

/** Answers on their way to one gateway: each waiting or placed request has at most one. */
const maxAnswers = 1 << 20;

/**
 * One gateway's stream: answers routes as they are placed, which for those that wait in the queue may be later than for
 * others; keeps accounts, and frees everything of the gateway when it ends.
 */
export async function* serveSession(
  context: RouterContext,
  owner: string,
  requests: AsyncIterable<SessionRequest>,
): AsyncGenerator<SessionResponse> {
  const { reservations, metrics } = context;
  const answers = new Outbox<SessionResponse>(maxAnswers);
  let failure: { readonly thrown: unknown } | null = null;
  metrics.sessions.inc();
  const reading = read(context, owner, requests, answers)
    .catch((thrown: unknown) => {
      failure = { thrown };
    })
    .finally(() => answers.close());
  try {
    yield* answers;
    await reading;
    if (failure !== null) throw (failure as { readonly thrown: unknown }).thrown;
  } finally {
    answers.close();
    metrics.sessions.dec();
    reservations.endOwner(owner);
  }
}

async function read(
  context: RouterContext,
  owner: string,
  requests: AsyncIterable<SessionRequest>,
  answers: Outbox<SessionResponse>,
): Promise<void> {
  const { reservations, instanceId } = context;
  let greeted = false;
  for await (const { message } of until(requests, context.stopping)) {
    if (!greeted && message.case !== 'hello')
      throw StatorError.invalid('hello', 'The first message of a session must be its hello.');
    switch (message.case) {
      case 'hello':
        greeted = true;
        reservations.openOwner(owner, message.value.gatewayId);
        answers.push(create(SessionResponseSchema, { message: { case: 'welcome', value: { instanceId } } }));
        break;
      case 'route':
        void routed(context, owner, message.value).then((answer) => answers.push(answer));
        break;
      case 'prefillDone':
        reservations.prefillDone(owner, message.value.requestId);
        break;
      case 'outputBlock':
        reservations.outputBlock(owner, message.value.requestId, message.value.outputTokens);
        break;
      case 'finish':
        reservations.finish(owner, message.value.requestId, message.value.workerFailed);
        break;
      case 'reannounce':
        reservations.reannounce(owner, message.value);
        break;
      default:
        // A newer gateway's message: it can do without an answer, or it would not send it to this version.
        break;
    }
  }
}

/** Never rejects: a refusal is an answer too. */
async function routed({ reservations }: RouterContext, owner: string, request: RouteRequest): Promise<SessionResponse> {
  const { requestId } = request;
  try {
    const decision = await reservations.route(owner, request);
    const outcome = { case: 'decision' as const, value: decision };
    return create(SessionResponseSchema, { message: { case: 'routed', value: { requestId, outcome } } });
  } catch (thrown) {
    const { code, message, retryAfterMs = 0, field = '', facts } = StatorError.from(thrown);
    const factsJson = facts === undefined ? '' : JSON.stringify(facts);
    const outcome = { case: 'refused' as const, value: { code, message, retryAfterMs, field, factsJson } };
    return create(SessionResponseSchema, { message: { case: 'routed', value: { requestId, outcome } } });
  }
}

/** Passes messages on until the signal is aborted, so that a router that stops need not wait for its gateways. */
async function* until<T>(source: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  const iterator = source[Symbol.asyncIterator]();
  while (!signal.aborted) {
    const { promise: ended, resolve } = Promise.withResolvers<null>();
    const stop = (): void => resolve(null);
    signal.addEventListener('abort', stop, { once: true });
    const next = await Promise.race([iterator.next(), ended]);
    signal.removeEventListener('abort', stop);
    if (next === null || next.done === true) return;
    yield next.value;
  }
}
