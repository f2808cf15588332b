import { randomUUID } from 'node:crypto';
import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../../context.ts';
import { EventAnswer, type EventFormat } from '../../output/event-answer.ts';
import { RequestRecord } from '../../telemetry/request-record.ts';
import { anybody, type Caller, currentCaller } from '../../tenants/caller.ts';
import { onBehalf } from '../on-behalf.ts';
import { runInto, runToEnd } from '../routes/generate.ts';
import type { Job } from '../translate/job.ts';
import { EventLog } from './event-log.ts';
import { HeldRun } from './held-run.ts';
import { failResponse, type ResponseRecorder } from './recorder.ts';
import { type AskedRun, type QueuedRun, RunQueue } from './run-queue.ts';
import type { InputItem } from './schema.ts';
import type { StoredResponse, StoredResponses } from './stored.ts';

/** A response that is asked for in the background. */
export interface BackgroundRequest {
  readonly job: Job;
  readonly recorder: ResponseRecorder;
  readonly input: readonly InputItem[];
  readonly responses: StoredResponses;
  /** What it can be asked with again. */
  readonly asked: AskedRun;
}

/** One that this gateway runs. */
export interface BackgroundRun {
  readonly job: Job;
  readonly recorder: ResponseRecorder;
  readonly responses: StoredResponses;
  readonly held: HeldRun;
  readonly requestId: string;
  /** Parts of its events that are stored already. */
  readonly parts: number;
}

/** Stores a response as queued and runs it on; whoever asks for it later learns what became of it. */
export async function runInBackground(ctx: GatewayContext, request: BackgroundRequest): Promise<void> {
  ctx.background.checkRoom();
  const { job, recorder, responses, asked } = request;
  const { response } = recorder;
  const { id } = response;
  const { leaseMs, isShared } = ctx.background;
  const caller = currentCaller() ?? anybody;
  const [owner, leaseUnixMs] = [randomUUID(), Date.now() + leaseMs];
  const queue = new RunQueue(ctx.store);
  const run: QueuedRun = { id, caller, owner, leaseUnixMs, attempts: 1 };
  const version = isShared ? await queue.add(run, asked, responses.keptForMs()) : 0;
  const streamed = job.plan.stream.stream;
  await responses.put({ response, input: [...request.input], leaseUnixMs, streamed, owner, resumable: isShared }, 0);
  const queued = isShared ? { queue, run, version } : null;
  const held = new HeldRun({ responses, id, owner, leaseMs, queued });
  carryOut(ctx, { job, recorder, responses, held, requestId: asked.requestId, parts: 0 }, caller);
}

/** Runs a response that is held, on behalf of whoever asked for it. */
export function carryOut(ctx: GatewayContext, run: BackgroundRun, caller: Caller): void {
  const { recorder, held } = run;
  const told = run.job.plan.stream.stream ? new ToldAnswer(ctx, run) : null;
  if (recorder.isNew) told?.log.write(recorder.queue());
  held.start();
  ctx.background.run(recorder.response.id, told?.log ?? null, (signal) =>
    onBehalf(ctx, caller, () => execute(ctx, run, told, signal))
      .catch((thrown: unknown) => broken(ctx, run, told, StatorError.from(signal.aborted ? signal.reason : thrown)))
      .then(() => told?.log.settled())
      .then(() => held.stop())
      .then(() => held.done())
      .catch((thrown: unknown) =>
        ctx.telemetry.log.warn({ err: thrown }, 'the end of a response could not be told to other gateways'),
      ),
  );
}

/** The response ends with an error here, or goes on elsewhere. */
async function broken(
  ctx: GatewayContext,
  run: BackgroundRun,
  told: ToldAnswer | null,
  error: StatorError,
): Promise<void> {
  const { recorder, held } = run;
  if (held.isTaken) return;
  const hasTold = told !== null && recorder.response.output.length > 0;
  if (error.code === 'draining' && held.canBeTakenUp && !hasTold) {
    await told?.log.settled();
    await held.stop();
    await held.release();
    return;
  }
  await keep(ctx, run, (stored) => failResponse(stored.response, error));
  const { status } = recorder.response;
  if (status === 'queued' || status === 'in_progress') told?.log.end(recorder.fail(error));
}

/** An answer whose events are stored while it is made. */
class ToldAnswer {
  readonly log: EventLog;
  readonly answer: EventAnswer;

  constructor(ctx: GatewayContext, run: BackgroundRun) {
    const { recorder, responses, held, parts } = run;
    const { response } = recorder;
    this.log = new EventLog(responses.eventsOf(response.id), {
      expiresUnixMs: responses.keptUntil(response),
      parts,
      log: ctx.telemetry.log,
      onDrain: () => this.answer.resume(),
      onTaken: () => held.takenUp(),
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
  const { job, recorder, held, requestId } = run;
  const record = new RequestRecord(ctx, {
    ...{ endpoint: 'responses', requestId, method: 'POST', path: '/v1/responses' },
    traceparent: job.requests[0]?.traceparent ?? '',
  });
  record.identified(job.plan.model, told === null ? 'unary' : 'stream');
  const both = AbortSignal.any([signal, held.lost]);
  try {
    const begun = recorder.begin();
    told?.log.write(begun);
    await keep(ctx, run, (stored) => {
      stored.response = recorder.response;
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

/** Changes the stored response, unless this run of it does not count any more. A store that cannot be reached is logged. */
async function keep(
  ctx: GatewayContext,
  { held, recorder }: BackgroundRun,
  change: (stored: StoredResponse) => void,
): Promise<void> {
  try {
    await held.change(change);
  } catch (thrown) {
    const { id } = recorder.response;
    ctx.telemetry.log.error({ err: thrown, response_id: id }, 'a background response could not be stored');
  }
}
