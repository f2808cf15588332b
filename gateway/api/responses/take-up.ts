import { randomUUID } from 'node:crypto';
import type { ErrorCode } from '#lib/errors/codes.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../../context.ts';
import { callOf, within } from '../../tenants/caller.ts';
import { claimEvents } from './follow-events.ts';
import { HeldRun } from './held-run.ts';
import { preparedResponse } from './prepared.ts';
import { failResponse, ResponseRecorder } from './recorder.ts';
import { carryOut } from './run-background.ts';
import { type QueuedRun, RunQueue } from './run-queue.ts';
import { type StoredResponse, StoredResponses } from './stored.ts';

/** A response that ends every gateway that runs it is given up after so many. */
const mostAttempts = 3;
/** After what may pass. */
const retryMs = 5000;
const passing: ReadonlySet<ErrorCode> = new Set(['model_not_found', 'not_ready', 'storage_unavailable', 'overloaded']);

/** What became of a run that another gateway left; null: it was none any more. */
type TakeUpOutcome = 'begun' | 'failed' | 'later' | null;

/**
 * Goes on with a background response whose gateway died or left: from its beginning, as long as nobody can have seen any
 * of its output. Its events go on with the next number.
 */
export function takeUp(
  ctx: GatewayContext,
  { version: found, ...entry }: QueuedRun & { readonly version: number },
): Promise<TakeUpOutcome> {
  return within(callOf(entry.caller), async () => {
    const queue = new RunQueue(ctx.store);
    const responses = new StoredResponses(ctx.store, ctx.config);
    const { leaseMs } = ctx.background;
    const leaseUnixMs = Date.now() + leaseMs;
    const run: QueuedRun = { ...entry, owner: randomUUID(), leaseUnixMs, attempts: entry.attempts + 1 };
    const version = await queue.hold(run, found, responses.keptForMs());
    if (version === null) return null;
    let stored = await openOf(responses, entry.id);
    if (stored === null) {
      await queue.remove(entry.id);
      return null;
    }
    let prepared: Awaited<ReturnType<typeof prepare>>;
    try {
      prepared = await prepare(ctx, { queue, responses, stored, run });
    } catch (thrown) {
      const error = StatorError.from(thrown);
      if (passing.has(error.code)) {
        await queue.hold({ ...entry, leaseUnixMs: Date.now() + retryMs }, version, responses.keptForMs());
        return 'later';
      }
      ctx.telemetry.log.warn({ err: error, response_id: entry.id }, 'a response that was left cannot go on');
      await responses.change(entry.id, (one) => {
        if (!isOpen(one)) return false;
        failResponse(one.response, error);
        return true;
      });
      await queue.remove(entry.id);
      return 'failed';
    }
    let isOurs = false;
    stored = await responses.change(entry.id, (one) => {
      isOurs = isOpen(one);
      one.owner = run.owner;
      one.leaseUnixMs = leaseUnixMs;
      return isOurs;
    });
    if (stored === null || !isOurs) {
      await queue.remove(entry.id);
      return null;
    }
    const { job, recorder, parts } = prepared;
    const held = new HeldRun({
      ...{ responses, leaseMs, id: entry.id, owner: run.owner },
      queued: { queue, run, version },
    });
    ctx.telemetry.log.info({ response_id: entry.id }, 'a response that another gateway left goes on here');
    carryOut(ctx, { job, recorder, responses, held, requestId: prepared.requestId, parts }, entry.caller);
    return 'begun';
  });
}

/** Throws where it cannot be begun again. */
async function prepare(
  ctx: GatewayContext,
  o: {
    readonly queue: RunQueue;
    readonly responses: StoredResponses;
    readonly stored: StoredResponse;
    readonly run: QueuedRun;
  },
) {
  const { queue, responses, stored, run } = o;
  const asked = await queue.asked(run.id);
  const expiresUnixMs = responses.keptUntil(stored.response);
  const events = stored.streamed ? await claimEvents(responses.eventsOf(run.id), expiresUnixMs) : null;
  // Another run would say something else than what its client may have read.
  if (asked === null || events?.hasOutput === true || run.attempts > mostAttempts)
    throw new StatorError('internal', 'The gateway that ran this response stopped.');
  const body = { ...asked.body, input: stored.input };
  const { job, encrypted } = await preparedResponse(ctx, responses, body, asked.headers);
  const response = { ...stored.response, output: [] };
  const recorder = new ResponseRecorder(response, encrypted, events?.nextSequence ?? 0);
  return { job, recorder, requestId: asked.requestId, parts: events?.parts ?? 0 };
}

/** The response if it has not ended. */
async function openOf(responses: StoredResponses, id: string): Promise<StoredResponse | null> {
  try {
    const stored = await responses.get(id);
    return isOpen(stored) ? stored : null;
  } catch (thrown) {
    if (StatorError.from(thrown).code !== 'not_found') throw thrown;
    return null;
  }
}

function isOpen({ response: { status } }: StoredResponse): boolean {
  return status === 'queued' || status === 'in_progress';
}
