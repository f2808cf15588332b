import type { InferParameter } from '#gen/inference/kserve_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { HeaderWishes } from '../api/translate/header-wishes.ts';

/** Parameters that are fields of a completion under the same names, with the same meaning and bounds. */
const plain = new Set([
  'max_tokens',
  'min_tokens',
  'temperature',
  'top_p',
  'top_k',
  'min_p',
  'frequency_penalty',
  'presence_penalty',
  'repetition_penalty',
  'seed',
  'n',
  'best_of',
  'echo',
  'ignore_eos',
  'include_stop_str_in_output',
  'skip_special_tokens',
  'add_special_tokens',
  'guided_regex',
  'guided_grammar',
  'cache_salt',
  'user',
]);

/** The same, whose values are lists or objects: they come as JSON text. */
const structured = new Set(['stop_token_ids', 'logit_bias', 'guided_json', 'guided_choice', 'structural_tag']);

/** Fields of a request's body that parameters name. */
export interface BodyFields {
  readonly plain: ReadonlySet<string>;
  readonly structured: ReadonlySet<string>;
  /** Texts that end the output: one, or JSON text of several. */
  readonly stop: boolean;
}

const completionFields: BodyFields = { plain, structured, stop: true };
/** Those of a request for embeddings. */
export const embeddingFields: BodyFields = {
  plain: new Set(['dimensions', 'truncate_prompt_tokens', 'add_special_tokens', 'user']),
  structured: new Set(),
  stop: false,
};

/** What goes into a completion's body under the same name. */
export const bodyParameters: readonly string[] = [...plain, 'stop', ...structured];

const microsecondsPerMs = 1000;

/** What parameters ask for. */
export interface AskedParameters {
  /** Fields of the request's body. */
  readonly body: Readonly<Record<string, unknown>>;
  /** What metadata said, with what parameters say of the same. */
  readonly headers: HeaderWishes;
}

interface Draft {
  readonly body: Record<string, unknown>;
  headers: HeaderWishes;
  sequenceId: string;
  sequenceEnd: boolean;
}

/** Reads the parameters of a request. Throws `invalid_argument` or `unsupported` that names the parameter. */
export function readParameters(
  parameters: Readonly<Record<string, InferParameter>>,
  headers: HeaderWishes,
  fields: BodyFields = completionFields,
): AskedParameters {
  const draft: Draft = { body: {}, headers, sequenceId: '', sequenceEnd: false };
  for (const [name, { parameterChoice }] of Object.entries(parameters)) {
    const field = `parameters.${name.slice(0, 100)}`;
    if (parameterChoice.case === undefined) throw StatorError.invalid(field, `\`${field}\` has no value`);
    take(draft, fields, { name, field, value: exactNumber(parameterChoice.value, field) });
  }
  const { sequenceId, sequenceEnd } = draft;
  // A sequence is a session: its requests prefer one worker.
  const action = sequenceEnd ? { action: 'close' } : {};
  const session = sequenceId === '' ? {} : { nvext: { session_control: { session_id: sequenceId, ...action } } };
  return { body: { ...draft.body, ...session }, headers: draft.headers };
}

interface Parameter {
  readonly name: string;
  readonly field: string;
  readonly value: boolean | number | string;
}

function take(draft: Draft, { plain: same, structured: asJson, stop }: BodyFields, { name, field, value }: Parameter) {
  if (same.has(name)) draft.body[name] = value;
  else if (stop && name === 'stop') draft.body[name] = stopOf(value, field);
  else if (asJson.has(name)) draft.body[name] = jsonOf(value, field);
  else if (name === 'timeout') draft.headers = { ...draft.headers, timeoutMs: timeoutOf(draft.headers, value, field) };
  else if (name === 'sequence_id') draft.sequenceId = sequenceOf(value, field);
  else if (name === 'sequence_end') draft.sequenceEnd = flagOf(value, field);
  // Sequences begin with their first request, and the last response of every request says that it is the last.
  else if (name === 'sequence_start' || name === 'triton_enable_empty_final_response') flagOf(value, field);
  else throw refusal(name, field);
}

function refusal(name: string, field: string): StatorError {
  if (name !== 'priority') return StatorError.invalid(field, `Unsupported parameter(s): \`${field}\``);
  const message = `\`${field}\` is not supported: priorities are metadata, \`x-stator-request-priority\`, where higher is more important`;
  return StatorError.unsupported(field, message);
}

function exactNumber(value: boolean | bigint | number | string, field: string): boolean | number | string {
  if (typeof value !== 'bigint') return value;
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw StatorError.invalid(field, `\`${field}\` must be from -(2^53-1) to 2^53-1, got ${value}`);
}

/** One string, or a JSON list of strings and token ids. */
function stopOf(value: boolean | number | string, field: string): unknown {
  return typeof value === 'string' && value.startsWith('[') ? jsonOf(value, field) : value;
}

function jsonOf(value: boolean | number | string, field: string): unknown {
  if (typeof value !== 'string') throw StatorError.invalid(field, `\`${field}\` must be JSON text`);
  try {
    return JSON.parse(value) as unknown;
  } catch (cause) {
    throw StatorError.invalid(field, `\`${field}\` must be JSON text`, { cause });
  }
}

/** Triton's microseconds; the deadline of the call may be nearer. 0: none. */
function timeoutOf({ timeoutMs }: HeaderWishes, value: boolean | number | string, field: string): number | null {
  if (typeof value !== 'number' || value < 0)
    throw StatorError.invalid(field, `\`${field}\` must be microseconds, 0 for none`);
  if (value === 0) return timeoutMs;
  const asked = Math.ceil(value / microsecondsPerMs);
  return timeoutMs === null ? asked : Math.min(timeoutMs, asked);
}

function sequenceOf(value: boolean | number | string, field: string): string {
  if (typeof value === 'boolean' || Buffer.byteLength(String(value)) > 256)
    throw StatorError.invalid(field, `\`${field}\` must be an integer or a string of at most 256 bytes`);
  return value === 0 ? '' : String(value);
}

function flagOf(value: boolean | number | string, field: string): boolean {
  if (typeof value === 'boolean') return value;
  throw StatorError.invalid(field, `\`${field}\` must be true or false`);
}
