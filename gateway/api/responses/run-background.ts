import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../../context.ts';
import { EventAnswer, type EventFormat } from '../../output/event-answer.ts';
import { RequestRecord } from '../../telemetry/request-record.ts';
import { anybody, currentCaller } from '../../tenants/caller.ts';
import { onBehalf } from '../on-behalf.ts';
import { runInto, runToEnd } from '../routes/generate.ts';
import type { Job } from '../translate/job.ts';
import { EventLog } from './event-log.ts';
import { failResponse, type ResponseRecorder } from './recorder.ts';
import type { InputItem } from './schema.ts';
import type { StoredResponse, StoredResponses } from './stored.ts';

/** How long a gateway answers for a response without saying so again. */
const leaseMs = 30_000;
const heartbeatMs = 2000;

export interface BackgroundRun {
  readonly job: Job;
  readonly recorder: ResponseRecorder;
  readonly input: readonly InputItem[];
  readonly responses: StoredResponses;
  readonly requestId: string;
}

/** Stores a response as queued and runs it on; whoever asks for it later learns what became of it. */
export async function runInBackground(ctx: GatewayContext, run: BackgroundRun): Promise<void> {
  ctx.background.checkRoom();
  const { recorder, responses } = run;
  const { response } = recorder;
  const streamed = run.job.plan.stream.stream;
  await responses.put({ response, input: [...run.input], leaseUnixMs: Date.now() + leaseMs, streamed }, 0);
  const told = streamed ? new ToldAnswer(ctx, run) : null;
  told?.log.write(recorder.queue());
  const caller = currentCaller() ?? anybody;
  ctx.background.run(response.id, told?.log ?? null, (signal) =>
    onBehalf(ctx, caller, () => execute(ctx, run, told, signal))
      .catch(async (thrown: unknown) => {
        const error = StatorError.from(signal.aborted ? signal.reason : thrown);
        await keep(ctx, run, (stored) => failResponse(stored.response, error));
        const { status } = recorder.response;
        if (status === 'queued' || status === 'in_progress') told?.log.end(recorder.fail(error));
      })
      .finally(() => told?.log.settled()),
  );
}

/** An answer whose events are stored while it is made. */
class ToldAnswer {
  readonly log: EventLog;
  readonly answer: EventAnswer;

  constructor(ctx: GatewayContext, run: BackgroundRun) {
    const { recorder, responses } = run;
    const { response } = recorder;
    this.log = new EventLog(responses.eventsOf(response.id), {
      expiresUnixMs: responses.keptUntil(response),
      log: ctx.telemetry.log,
      onDrain: () => this.answer.resume(),
    });
    const format: EventFormat = {
      keepAlive: '',
      open: () => '',
      part: (part) => recorder.part(part),
      close: async (generation, choice) => {
        const events = recorder.end(generation, choice);
        // Who reads the last event finds the response ended, and who finds it ended lacks no other event.
        const last = events.lastIndexOf('\n\nevent: ', events.length - 3);
        const from = last < 0 ? 0 : last + 2;
        // The answer writes what came before as soon as this has returned.
        await Promise.resolve();
        this.log.write(events.slice(0, from));
        await this.log.settled();
        await keepAnswer(ctx, run);
        return events.slice(from);
      },
      fail: (error) => recorder.fail(error),
    };
    this.answer = new EventAnswer(format, this.log, ctx.flushQueue);
  }
}

async function execute(
  ctx: GatewayContext,
  run: BackgroundRun,
  told: ToldAnswer | null,
  signal: AbortSignal,
): Promise<void> {
  const { job, recorder, responses, requestId } = run;
  const record = new RequestRecord(ctx, {
    ...{ endpoint: 'responses', requestId, method: 'POST', path: '/v1/responses' },
    traceparent: job.requests[0]?.traceparent ?? '',
  });
  record.identified(job.plan.model, told === null ? 'unary' : 'stream');
  const lost = new AbortController();
  const both = AbortSignal.any([signal, lost.signal]);
  const { id } = recorder.response;
  const heartbeat = setInterval(() => void beat().catch(() => {}), heartbeatMs);
  /** Says that we are alive, and learns whether another gateway was told to cancel. */
  const beat = async (): Promise<void> => {
    const stored = await responses.change(id, (one) => {
      one.leaseUnixMs = Date.now() + leaseMs;
      return one.response.status !== 'cancelled';
    });
    if (stored?.response.status === 'cancelled' || stored === null)
      lost.abort(new StatorError('cancelled', 'The response was cancelled.'));
  };
  try {
    const begun = recorder.begin();
    told?.log.write(begun);
    await keep(ctx, run, (stored) => {
      stored.response = recorder.response;
      stored.leaseUnixMs = Date.now() + leaseMs;
    });
    const error = await record.within(() =>
      told === null
        ? runWhole(ctx, record, run, both)
        : runInto(ctx, record, job, { answer: told.answer, signal: both }),
    );
    if (error !== null) throw error;
    record.end(null);
  } catch (thrown) {
    record.end(both.aborted ? both.reason : thrown);
    throw both.aborted ? both.reason : thrown;
  } finally {
    clearInterval(heartbeat);
  }
}

async function runWhole(
  ctx: GatewayContext,
  record: RequestRecord,
  run: BackgroundRun,
  signal: AbortSignal,
): Promise<null> {
  const { job, recorder } = run;
  const [generation] = await runToEnd(ctx, record, job, signal);
  const choice = generation?.choices[0];
  if (generation === undefined || choice === undefined) throw new Error('the run has no choice');
  for (const part of choice.takeParts()) recorder.part(part);
  recorder.end(generation, choice);
  await keepAnswer(ctx, run);
  return null;
}

function keepAnswer(ctx: GatewayContext, run: BackgroundRun): Promise<void> {
  return keep(ctx, run, (stored) => {
    stored.response = run.recorder.response;
  });
}

/** Changes the stored response, unless it was cancelled or deleted meanwhile. A store that cannot be reached is logged. */
async function keep(
  ctx: GatewayContext,
  { responses, recorder }: BackgroundRun,
  change: (stored: StoredResponse) => void,
): Promise<void> {
  const { id } = recorder.response;
  try {
    await responses.change(id, (stored) => {
      if (stored.response.status === 'cancelled') return false;
      change(stored);
      return true;
    });
  } catch (thrown) {
    ctx.telemetry.log.error({ err: thrown, response_id: id }, 'a background response could not be stored');
  }
}
