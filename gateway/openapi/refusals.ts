import { type ErrorCode, errorClasses } from '#lib/errors/codes.ts';

/** Codes of errors that a route may answer with. */
export type Refusals = readonly ErrorCode[];

/** Of every route that needs a key. */
const keyed: Refusals = ['unauthenticated', 'internal'];
/** Of a route that reads a JSON body. */
const reading: Refusals = ['invalid_argument', 'payload_too_large', 'unsupported_media_type'];
/** Of a question to a model, be it for tokens or for a count of them. */
const asking: Refusals = [
  'context_length_exceeded',
  'unsupported',
  'permission_denied',
  'model_not_found',
  'rate_limited',
  'not_ready',
  'draining',
  'worker_unavailable',
  'deadline_exceeded',
  'overloaded',
];
/** Of work that an engine does. */
const computing: Refusals = [
  'queue_timeout',
  'engine_failed',
  'unimplemented',
  'backend_protocol',
  'stream_incomplete',
];
/** Of a route for administrators. */
const administering: Refusals = ['unauthenticated', 'permission_denied', 'not_ready', 'worker_unavailable', 'internal'];
const inference: Refusals = [...keyed, ...reading, ...asking, ...computing];

/** What routes refuse, by their kind. */
export const refusals = {
  none: [],
  /** A list that is in memory. */
  list: [...keyed, 'invalid_argument'],
  /** One thing that is in memory. */
  one: [...keyed, 'model_not_found'],
  /** One session of agents. */
  session: [...keyed, 'not_found'],
  inference,
  /** Questions that only the tokenizer answers. */
  counting: [...keyed, ...reading, ...asking],
  /** Questions that may follow a stored answer. */
  conversing: [...inference, 'not_found', 'storage_unavailable'],
  storedList: [...keyed, 'invalid_argument', 'storage_unavailable'],
  /** One thing in the store. */
  stored: [...keyed, 'not_found', 'conflict', 'storage_unavailable'],
  /** Whatever puts something into the store. */
  storing: [...keyed, ...reading, 'not_found', 'overloaded', 'storage_unavailable'],
  notOffered: [...keyed, 'unimplemented'],
  admin: administering,
  setting: [...administering, ...reading, 'model_not_found'],
} as const satisfies Record<string, Refusals>;

/** The codes of each HTTP status, in the order of statuses. */
export function byStatus(codes: Refusals): ReadonlyMap<number, readonly ErrorCode[]> {
  const found = new Map<number, ErrorCode[]>();
  for (const code of new Set(codes)) {
    const { http } = errorClasses[code];
    found.set(http, [...(found.get(http) ?? []), code]);
  }
  return new Map([...found].sort(([a], [b]) => a - b));
}
