import { errorClasses } from '#lib/errors/codes.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { runTold } from '../api/routes/generate.ts';
import { inClientTerms } from '../api/translate/client-terms.ts';
import type { GatewayContext } from '../context.ts';
import { publicMessage } from '../http/error-body.ts';
import type { Generation } from '../pipeline/generation.ts';
import type { Waker } from '../pipeline/waker.ts';
import { RequestRecord } from '../telemetry/request-record.ts';
import type { RequestFacts } from '../tenants/access.ts';
import { within } from '../tenants/caller.ts';
import type { RateState } from '../tenants/limits.ts';
import type { Credentials } from '../tenants/tenants.ts';
import type { Outgoing } from './outgoing.ts';
import { type RecorderOptions, type ResponseEnd, ResponseRecorder } from './recorder.ts';
import { type AskedResponse, responseJob } from './to-job.ts';

export interface ResponseOptions {
  readonly asked: AskedResponse;
  readonly recorder: RecorderOptions;
  readonly credentials: Credentials;
  readonly facts: RequestFacts;
  readonly outgoing: Outgoing;
  /** Aborted by the client's wish or its leaving. */
  readonly signal: AbortSignal;
}

/**
 * Makes a response: a request of its own within its caller's limits. Throws StatorError for one that is refused before it
 * has begun; what goes wrong afterwards is told as the end of the response.
 */
export async function makeResponse(ctx: GatewayContext, o: ResponseOptions): Promise<void> {
  const { requestId, method, path } = o.facts;
  const { traceparent } = o.asked.headers;
  const record = new RequestRecord(ctx, { endpoint: 'realtime', requestId, method, path, traceparent });
  let end: (thrown: unknown) => void = () => {};
  try {
    await ctx.running.run(async () => {
      const admission = await ctx.access.admit(o.credentials, o.facts);
      end = admission.end;
      await within(admission.call, () => record.within(() => begun(ctx, o, record, admission.rates)));
    });
  } catch (thrown) {
    const error = inClientTerms(StatorError.from(o.signal.aborted ? o.signal.reason : thrown));
    record.end(error);
    throw error;
  } finally {
    end(record.failure);
  }
}

async function begun(ctx: GatewayContext, o: ResponseOptions, record: RequestRecord, rates: RateState): Promise<void> {
  record.identified(o.asked.model, 'stream');
  const job = responseJob(ctx, o.asked);
  o.signal.throwIfAborted();
  const recorder = new ResponseRecorder(o.recorder);
  recorder.begin();
  tellRates(o.outgoing, rates);
  let ended: { readonly end: ResponseEnd; readonly error: StatorError | null };
  try {
    const tell = (generation: Generation, waker: Waker) => told(generation, waker, recorder, o.outgoing);
    ended = { end: await runTold(ctx, record, job, { tell, signal: o.signal }), error: null };
  } catch (thrown) {
    const error = inClientTerms(StatorError.from(o.signal.aborted ? o.signal.reason : thrown));
    ended = { end: endOf(error), error };
  }
  recorder.end(ended.end, record.generations[0] ?? null);
  record.end(ended.error);
}

/** Tells what the model brings as fast as the client reads. */
async function told(
  generation: Generation,
  waker: Waker,
  recorder: ResponseRecorder,
  outgoing: Outgoing,
): Promise<ResponseEnd> {
  const [choice] = generation.choices;
  if (choice === undefined) throw new StatorError('internal', 'the run has no choice');
  for (;;) {
    await waker.wait();
    const { finish } = choice;
    if (finish?.error) throw finish.error;
    for (const part of choice.takeParts()) recorder.part(part);
    if (finish !== null) break;
    await outgoing.taken();
  }
  if (choice.finishReason !== 'length') return { status: 'completed', details: null };
  return { status: 'incomplete', details: { type: 'incomplete', reason: 'max_output_tokens' } };
}

function endOf(error: StatorError): ResponseEnd {
  if (error.code === 'cancelled')
    return { status: 'cancelled', details: { type: 'cancelled', reason: 'client_cancelled' } };
  const { openai } = errorClasses[error.code];
  const shown = { type: openai, code: error.code, message: publicMessage(error) };
  return { status: 'failed', details: { type: 'failed', error: shown } };
}

/** What is left of a caller's limits. */
function tellRates(outgoing: Outgoing, rates: RateState): void {
  const limits = (['requests', 'tokens'] as const).flatMap((name) => {
    const state = rates[name];
    if (state === null) return [];
    return [{ name, limit: state.limit, remaining: state.remaining, reset_seconds: state.resetMs / 1000 }];
  });
  if (limits.length > 0) outgoing.send('rate_limits.updated', { rate_limits: limits });
}
