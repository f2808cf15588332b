import { StatorError } from '#lib/errors/errors.ts';
import { validateBody } from '../api/validate.ts';
import { findJsonError } from '../http/json-error.ts';
import { type ClientEvent, clientEvent } from './schema.ts';

type Fields = Readonly<Record<string, unknown>>;

/** Events of the protocol that are about speech. */
const speechEvents = /^(input_audio_buffer|output_audio_buffer|transcription_session)\.|^conversation\.item\.truncate$/;
/** What sessions and responses say of speech, in the protocol's newer and older form. */
const speechFields = [
  'audio',
  'voice',
  'speed',
  'input_audio_format',
  'output_audio_format',
  'input_audio_transcription',
  'input_audio_noise_reduction',
  'turn_detection',
];
/** Further fields that may be there as long as they ask for nothing. */
const emptyFields = ['prompt', 'tracing', 'id', 'object', 'expires_at', 'client_secret'];
const speechParts = ['input_audio', 'output_audio', 'audio'];

/** The JSON object of a message. Throws `invalid_argument`. */
export function parseMessage(text: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const { message, position } = findJsonError(text);
    throw StatorError.invalid('', `The message is not valid JSON: ${message} at position ${position}`, { cause });
  }
  if (isFields(value)) return value;
  throw StatorError.invalid('', 'The message must be a JSON object');
}

/** Checks an event. Throws `unsupported` for what is about speech, `invalid_argument` naming anything else that is wrong. */
export function readEvent(fields: Fields): ClientEvent {
  const { type } = fields;
  if (typeof type !== 'string') throw StatorError.invalid('type', 'Validation: `type`: is required');
  if (speechEvents.test(type)) {
    const message = `\`${type}\` is not supported: no model here hears or speaks. Send text by \`conversation.item.create\`.`;
    throw StatorError.unsupported('type', message);
  }
  const known = clientEvent.options.some((option) => option.shape.type.value === type);
  if (!known) throw StatorError.invalid('type', `Validation: \`type\`: there is no event \`${type.slice(0, 100)}\``);
  const event = { ...fields };
  for (const name of ['session', 'response']) {
    const part = fields[name];
    if (isFields(part)) event[name] = withoutSpeech(part, name);
  }
  refuseSpeechItem(fields['item'], 'item');
  const input = isFields(fields['response']) ? fields['response']['input'] : undefined;
  if (Array.isArray(input))
    for (const [index, item] of input.entries()) refuseSpeechItem(item, `response.input[${index}]`);
  return validateBody(clientEvent, event);
}

/** What is left of a session or response without fields about speech, which are refused where they ask for something. */
function withoutSpeech(fields: Fields, name: string): Fields {
  const kept: Record<string, unknown> = { ...fields };
  for (const field of [...speechFields, ...emptyFields]) {
    if (!Object.hasOwn(fields, field)) continue;
    const isSpeech = speechFields.includes(field);
    if (isSpeech && !asksNothing(fields[field])) throw noSpeech(`${name}.${field}`);
    if (isSpeech || asksNothing(fields[field]) || isEcho(field)) delete kept[field];
  }
  for (const field of ['output_modalities', 'modalities']) {
    const modalities = fields[field];
    if (Array.isArray(modalities) && modalities.includes('audio')) throw noSpeech(`${name}.${field}`);
  }
  if (fields['type'] === 'transcription') throw noSpeech(`${name}.type`);
  return kept;
}

/** Clients send back what they were told. */
function isEcho(field: string): boolean {
  return field === 'id' || field === 'object' || field === 'expires_at';
}

function refuseSpeechItem(item: unknown, name: string): void {
  const content = isFields(item) ? item['content'] : undefined;
  if (!Array.isArray(content)) return;
  for (const [index, part] of content.entries())
    if (isFields(part) && speechParts.includes(String(part['type']))) throw noSpeech(`${name}.content[${index}]`);
}

function noSpeech(field: string): StatorError {
  const message = `\`${field}\` is not supported: no model here hears or speaks, so modalities are \`["text"]\``;
  return StatorError.unsupported(field, message);
}

function asksNothing(value: unknown): boolean {
  if (value === null || value === undefined) return true;
  if (Array.isArray(value)) return value.length === 0;
  return isFields(value) && Object.values(value).every(asksNothing);
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
