import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../../context.ts';
import { RequestRecord } from '../../telemetry/request-record.ts';
import { anybody, currentCaller } from '../../tenants/caller.ts';
import { onBehalf } from '../on-behalf.ts';
import { runToEnd } from '../routes/generate.ts';
import type { Job } from '../translate/job.ts';
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
  const { response } = run.recorder;
  await run.responses.put({ response, input: [...run.input], leaseUnixMs: Date.now() + leaseMs }, 0);
  const caller = currentCaller() ?? anybody;
  ctx.background.run(response.id, (signal) =>
    onBehalf(ctx, caller, () => execute(ctx, run, signal)).catch((thrown: unknown) => {
      const error = StatorError.from(signal.aborted ? signal.reason : thrown);
      return keep(ctx, run, (stored) => failResponse(stored.response, error));
    }),
  );
}

async function execute(ctx: GatewayContext, run: BackgroundRun, signal: AbortSignal): Promise<void> {
  const { job, recorder, responses, requestId } = run;
  const record = new RequestRecord(ctx, {
    ...{ endpoint: 'responses', requestId, method: 'POST', path: '/v1/responses' },
    traceparent: job.requests[0]?.traceparent ?? '',
  });
  record.identified(job.plan.model, 'unary');
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
    recorder.begin();
    await keep(ctx, run, (stored) => {
      stored.response = recorder.response;
      stored.leaseUnixMs = Date.now() + leaseMs;
    });
    const [generation] = await record.within(() => runToEnd(ctx, record, job, both));
    const choice = generation?.choices[0];
    if (generation === undefined || choice === undefined) throw new Error('the run has no choice');
    for (const part of choice.takeParts()) recorder.part(part);
    recorder.end(generation, choice);
    await keep(ctx, run, (stored) => {
      stored.response = recorder.response;
    });
    record.end(null);
  } catch (thrown) {
    record.end(both.aborted ? both.reason : thrown);
    throw both.aborted ? both.reason : thrown;
  } finally {
    clearInterval(heartbeat);
  }
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
