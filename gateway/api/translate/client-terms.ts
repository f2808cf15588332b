import { StatorError } from '#lib/errors/errors.ts';

/** Fields of the router's requests, and where a client of the REST API says the same. */
const clientFields: Readonly<Record<string, string>> = {
  'constraints.instance_id': 'nvext.backend_instance_id',
  'constraints.data_parallel_rank': 'nvext.dp_rank',
  'constraints.allowed_instance_ids': 'nvext.routing_constraints.allowed_worker_ids',
  mode: 'nvext.router.mode',
  session_id: 'nvext.session_control.session_id',
};

/** The same error with its field as a client of the REST API knows it. */
export function inClientTerms(error: StatorError): StatorError {
  const field = clientFields[error.field ?? ''];
  if (field === undefined) return error;
  const { code, message, retryAfterMs, retryable, facts, cause } = error;
  return new StatorError(code, message, {
    field,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(retryable === undefined ? {} : { retryable }),
    ...(facts === undefined ? {} : { facts }),
    cause: cause ?? error,
  });
}
