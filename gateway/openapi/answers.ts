import { errorClasses } from '#lib/errors/codes.ts';
import { byStatus } from './refusals.ts';
import { errorSchemas, type RouteDoc } from './route-doc.ts';
import type { SchemaComponents } from './schemas.ts';

const integer = { type: 'integer', minimum: 0 };

/** Headers of answers, as components of the document. */
export const headerComponents = {
  RequestId: {
    description: "The request's name in logs and traces: the one that the client sent, or a new one.",
    required: true,
    schema: { type: 'string', minLength: 1 },
  },
  RetryAfter: { description: 'Seconds after which it may be tried again.', required: true, schema: integer },
  RateLimit: { description: "The key's limit in a minute, where it has one.", schema: integer },
  RateRemaining: { description: 'What is left of it.', schema: integer },
  RateReset: { description: 'When all of it is there again.', schema: { type: 'string', pattern: '^\\d+\\.\\d{3}s$' } },
} as const;

function header(name: keyof typeof headerComponents): object {
  return { $ref: `#/components/headers/${name}` };
}

const always = { 'x-request-id': header('RequestId') };

function rateHeaders(): Record<string, object> {
  return Object.fromEntries(
    ['requests', 'tokens'].flatMap((kind) => [
      [`x-ratelimit-limit-${kind}`, header('RateLimit')],
      [`x-ratelimit-remaining-${kind}`, header('RateRemaining')],
      [`x-ratelimit-reset-${kind}`, header('RateReset')],
    ]),
  );
}

/** Statuses whose clients are told when to come back. */
const retried = [429, 503, 529];

/** What a route answers, by status. */
export function answersOf(route: RouteDoc, components: SchemaComponents): Record<string, object> {
  const found: Record<string, object> = {};
  for (const { status, description, schema, media = 'application/json' } of route.answers) {
    const whole = schema === null ? {} : { [media]: { schema: components.refer(schema) } };
    const content =
      route.events === undefined ? whole : { ...whole, 'text/event-stream': eventStream(route, components) };
    const headers = status === '200' && route.limited === true ? { ...always, ...rateHeaders() } : always;
    found[status] = { description, headers, ...(schema === null ? {} : { content }) };
  }
  const schema = components.refer(errorSchemas[route.errors ?? 'openai']);
  for (const [status, codes] of byStatus(route.refusals)) {
    if (String(status) in found) continue;
    const headers = retried.includes(status) ? { ...always, 'retry-after': header('RetryAfter') } : always;
    const content = { 'application/json': { schema } };
    found[status] = { description: codes.map(describeCode).join(' '), headers, content };
  }
  return found;
}

function describeCode(code: keyof typeof errorClasses): string {
  const { retryable } = errorClasses[code];
  return retryable ? `\`${code}\` (may be tried again).` : `\`${code}\`.`;
}

/** Server-sent events. What the whole of a stream is, no schema can say that all readers agree on; what each event is, stands beside. */
function eventStream({ events }: RouteDoc, components: SchemaComponents): object {
  const description = 'Server-sent events, where `stream` is true. The data of each is JSON as `x-event-schema` says.';
  return { schema: { description }, ...(events === undefined ? {} : { 'x-event-schema': components.refer(events) }) };
}
