import type { RouteDecision, RouteRequest } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { RouterClient } from '../routing/router-client.ts';
import type { WorkerSession } from '../workers/worker-session.ts';

/** Milliseconds that a request waits for a session that is being opened. */
const sessionPatienceMs = 1000;

/** Asks the router, which keeps the time by itself; `timeoutMs` is for one that does not answer at all. Rejects with StatorError. */
export async function routed(
  router: RouterClient,
  message: RouteRequest,
  o: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<RouteDecision> {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(routeTimeout(o.timeoutMs)), o.timeoutMs + 1000);
  try {
    return await router.route(message, AbortSignal.any([o.signal, patience.signal]));
  } catch (thrown) {
    throw StatorError.from(patience.signal.aborted ? patience.signal.reason : thrown);
  } finally {
    clearTimeout(timer);
  }
}

/** A worker that was just found has no session yet, and the only worker is worth waiting for while it reconnects. */
export async function awaitSession(
  session: WorkerSession,
  o: { readonly isOnly: boolean; readonly signal: AbortSignal },
): Promise<StatorError | null> {
  if (session.state === 'ready') return null;
  if (session.state === 'reconnecting' && !o.isOnly) return null;
  try {
    await session.ready(AbortSignal.any([o.signal, AbortSignal.timeout(sessionPatienceMs)]));
    return null;
  } catch (thrown) {
    if (o.signal.aborted) return StatorError.from(o.signal.reason);
    const options = { cause: thrown, retryAfterMs: sessionPatienceMs };
    return new StatorError('worker_unavailable', 'The worker cannot be reached.', options);
  }
}

function routeTimeout(afterMs: number): StatorError {
  return new StatorError('overloaded', `No worker was free within ${afterMs / 1000} s.`, { retryAfterMs: 1000 });
}
