import type { Exclusion } from '#core/routing/constraints.ts';
import type { RouteRequest } from '#gen/stator/router/v1/router_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { WorkerRank } from './worker-ranks.ts';

/** No worker serves the model, or not all roles that it takes are there yet. */
export function notServed({ model }: RouteRequest, isKnown: boolean): StatorError {
  return isKnown
    ? new StatorError('not_ready', `The workers of \`${model}\` are not complete yet.`, { retryAfterMs: 1000 })
    : new StatorError('model_not_found', `No worker serves the model \`${model}\`.`, { field: 'model' });
}

/** The router was told to wait for more workers before it begins. */
export function tooFewWorkers(actual: number, minimum: number): StatorError {
  const message = `The router begins with ${minimum} workers and knows ${actual}.`;
  return new StatorError('not_ready', message, { retryAfterMs: 1000, facts: { minimum, actual } });
}

/** Why no worker of the model may serve the request: busy workers first, since waiting helps; then what the request itself excludes. */
export function noneEligible(
  { model, constraints }: RouteRequest,
  considered: readonly { readonly rank: WorkerRank; readonly exclusion: Exclusion | null }[],
): StatorError {
  const kinds = new Set(considered.map(({ exclusion }) => exclusion?.kind));
  const reasons = [...new Set(considered.flatMap(({ exclusion }) => exclusion?.reason ?? []))].slice(0, 4).join('; ');
  const busy = considered.filter(({ exclusion }) => exclusion?.kind === 'busy').length;
  const facts = { ranks: considered.length, busy };
  if (kinds.has('busy')) {
    const message = `Every worker of \`${model}\` that may serve the request is busy: ${reasons}.`;
    return new StatorError('overloaded', message, { retryAfterMs: 1000, facts });
  }
  const pinned = constraints?.instanceId;
  if (pinned !== undefined && considered.every(({ rank }) => rank.instanceId !== pinned))
    return new StatorError('not_found', `The worker that the request names does not serve \`${model}\`.`, {
      field: 'constraints.instance_id',
    });
  return new StatorError('worker_unavailable', `No worker of \`${model}\` can serve the request: ${reasons}.`, {
    retryAfterMs: 1000,
    facts,
  });
}
