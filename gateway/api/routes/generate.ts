import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../../context.ts';
import { type Exchange, sendError, sendEvents, sendJson } from '../../http/exchange.ts';
import { renderDryRun, renderDryRunStream } from '../../output/dry-run-answer.ts';
import { EventAnswer, type EventFormat } from '../../output/event-answer.ts';
import { SseAnswer } from '../../output/sse-answer.ts';
import type { StreamedAnswer } from '../../output/streamed-answer.ts';
import { renderAnswer, UnaryAnswer } from '../../output/unary-answer.ts';
import type { Choice } from '../../pipeline/choice.ts';
import { dryRun, type RoutingPhase, routingPhase } from '../../pipeline/dry-run.ts';
import type { Generation, GenerationObserver } from '../../pipeline/generation.ts';
import { type Run, runRequests } from '../../pipeline/run.ts';
import { Waker } from '../../pipeline/waker.ts';
import { SseSocket } from '../../sse/sse-socket.ts';
import type { RequestRecord } from '../../telemetry/request-record.ts';
import type { Job } from '../translate/job.ts';

/** Runs a translated request and answers it, streamed or whole. Never rejects: errors become answers. */
export async function answerJob(
  ctx: GatewayContext,
  exchange: Exchange,
  record: RequestRecord,
  job: Job,
): Promise<void> {
  sayNotEnforced(exchange, job);
  if (job.plan.dryRun !== null) await answerDryRun(ctx, exchange, record, job, routingPhase(job.plan.dryRun));
  else
    await (job.plan.stream.stream
      ? streamJob(ctx, exchange, record, job, (socket) => new SseAnswer(job.plan, socket, ctx.flushQueue))
      : foldJob(ctx, exchange, record, job, (generations) => renderAnswer(job.plan, generations)));
}

/** Runs a translated request that has one choice and answers in the shape of an API of its own. Errors are thrown. */
export async function answerShaped(
  ctx: GatewayContext,
  exchange: Exchange,
  record: RequestRecord,
  job: Job,
  shape: { format(): EventFormat; render(generation: Generation, choice: Choice): string | Promise<string> },
): Promise<void> {
  sayNotEnforced(exchange, job);
  if (job.plan.stream.stream) {
    await streamJob(ctx, exchange, record, job, (socket) => new EventAnswer(shape.format(), socket, ctx.flushQueue));
    return;
  }
  await foldJob(ctx, exchange, record, job, ([generation]) => {
    const choice = generation?.choices[0];
    if (generation === undefined || choice === undefined) throw new Error('the run has no choice');
    return shape.render(generation, choice);
  });
}

function sayNotEnforced({ response }: Exchange, { notEnforced }: Job): void {
  if (notEnforced !== undefined) response.setHeader('x-stator-not-enforced', notEnforced);
}

/** Says where the request would go; nothing is reserved and nothing runs. */
async function answerDryRun(
  ctx: GatewayContext,
  exchange: Exchange,
  record: RequestRecord,
  { plan, requests, traceAttributes }: Job,
  phase: RoutingPhase,
): Promise<void> {
  record.attributes(traceAttributes);
  const [request] = requests;
  if (request === undefined || requests.length > 1) {
    const message = 'Validation: `nvext.annotations`: `query_instance_id:` answers for one prompt at a time';
    throw StatorError.invalid('nvext.annotations', message);
  }
  const { signal } = exchange;
  const routed = await dryRun(ctx.pipeline, { ...request, ...record.traceContext(request) }, { phase, signal });
  const answer = { requestId: request.requestId, phase, dryRun: routed };
  if (plan.stream.stream) sendEvents(exchange, renderDryRunStream(plan, answer));
  else sendJson(exchange, 200, renderDryRun(plan, answer));
  record.end(null);
}

/** Runs a job to its end and answers what `render` makes of it. */
async function foldJob(
  ctx: GatewayContext,
  exchange: Exchange,
  record: RequestRecord,
  job: Job,
  render: (generations: readonly Generation[]) => string | Promise<string>,
): Promise<void> {
  const generations = await runToEnd(ctx, record, job, exchange.signal);
  sendJson(exchange, 200, await render(generations));
  record.end(null);
}

/** Begins every prompt of a job, as a part of the record's trace. */
async function runJob(
  ctx: GatewayContext,
  record: RequestRecord,
  job: Job,
  { observer, signal }: { readonly observer: GenerationObserver; readonly signal: AbortSignal },
): Promise<Run> {
  record.attributes(job.traceAttributes);
  const requests = job.requests.map((request) => ({ ...request, ...record.traceContext(request) }));
  const { receivedMs } = record;
  const { explain } = job.plan;
  const run = await runRequests(ctx.pipeline, requests, observer, { receivedMs, signal, explain });
  record.running(run.generations);
  return run;
}

/** Runs a job of one prompt and has `tell` pass on what it brings; nothing runs on when that has ended, however it did. */
export async function runTold<T>(
  ctx: GatewayContext,
  record: RequestRecord,
  job: Job,
  {
    tell,
    signal,
  }: { readonly tell: (generation: Generation, waker: Waker) => Promise<T>; readonly signal: AbortSignal },
): Promise<T> {
  const waker = new Waker();
  const run = await runJob(ctx, record, job, { observer: waker, signal });
  try {
    const [generation] = run.generations;
    if (generation === undefined) throw new StatorError('internal', 'the run has no generation');
    return await tell(generation, waker);
  } finally {
    run.cancel();
  }
}

/** Runs every prompt of a job to its end; throws the error of whichever fails first. */
export async function runToEnd(
  ctx: GatewayContext,
  record: RequestRecord,
  job: Job,
  signal: AbortSignal,
): Promise<readonly Generation[]> {
  const answer = new UnaryAnswer();
  const run = await runJob(ctx, record, job, { observer: answer, signal });
  await answer.attach(run.generations);
  return run.generations;
}

/** Runs a job into an answer until it has ended or `signal` aborts; the error with which it ended. Throws what let it not begin. */
export async function runInto(
  ctx: GatewayContext,
  record: RequestRecord,
  job: Job,
  { answer, signal }: { readonly answer: StreamedAnswer; readonly signal: AbortSignal },
): Promise<StatorError | null> {
  const onAbort = (): void => answer.abandon(StatorError.from(signal.reason));
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    const run = await runJob(ctx, record, job, { observer: answer, signal });
    answer.attach(run.generations);
    const { error } = await answer.ended;
    if (error !== null) run.cancel(error);
    return error;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** Runs a job and streams it as the answer that `create` makes over the client's socket. */
async function streamJob(
  ctx: GatewayContext,
  exchange: Exchange,
  record: RequestRecord,
  job: Job,
  create: (socket: SseSocket) => StreamedAnswer,
): Promise<void> {
  const { request, response } = exchange;
  const cut = new StatorError('slow_reader', 'The client did not read its stream.');
  const socket = new SseSocket(request, response, {
    slowReaderTimeoutMs: ctx.config.slowReaderTimeoutSeconds * 1000,
    onDrain: () => answer.resume(),
    onCut: () => {
      ctx.metrics.slowReaders.inc();
      answer.abandon(cut);
    },
  });
  const answer = create(socket);
  const keepAliveMs = ctx.config.sseKeepaliveSeconds * 1000;
  const timer = keepAliveMs > 0 ? setInterval(() => answer.keepAlive(), keepAliveMs) : null;
  try {
    const error = await runInto(ctx, record, job, { answer, signal: exchange.signal });
    if (error !== null && !response.headersSent) sendError(exchange, error);
    record.end(error);
  } catch (thrown) {
    // A keep-alive comment may have sent the head already: then the error is an event.
    if (!answer.failLate(StatorError.from(thrown))) throw thrown;
    record.end(StatorError.from(thrown));
  } finally {
    if (timer !== null) clearInterval(timer);
  }
}
