import { errorClasses } from '#lib/errors/codes.ts';
import type { StatorError } from '#lib/errors/errors.ts';
import { escapeJson } from '../sse/json-escape.ts';

/** What may be said of a fault that is not the caller's: its own text may hold paths and addresses. */
export function publicMessage(error: StatorError): string {
  const { http } = errorClasses[error.code];
  return error.code === 'internal' || (http === 500 && error.code !== 'engine_failed')
    ? 'The server had an internal error while processing the request.'
    : error.message;
}

/** `{"error":{…}}` in the shape that OpenAI's clients raise typed errors from. docs/decisions/0004-error-shape.md. */
export function renderErrorBody(error: StatorError): string {
  const { openai } = errorClasses[error.code];
  const param = error.field === undefined || error.field === '' ? 'null' : `"${escapeJson(error.field)}"`;
  const facts = error.facts === undefined ? '' : `,"details":${JSON.stringify(error.facts)}`;
  const message = escapeJson(publicMessage(error));
  return `{"error":{"message":"${message}","type":"${openai}","param":${param},"code":"${error.code}"${facts}}}`;
}

/** `{"type":"error",…}` in the shape that Anthropic's clients raise typed errors from. */
export function renderAnthropicError(error: StatorError, requestId: string): string {
  const { anthropic } = errorClasses[error.code];
  const said = publicMessage(error);
  // The shape has no place of its own for the field.
  const unsaid = error.field !== undefined && error.field !== '' && !said.includes(error.field);
  const message = escapeJson(unsaid ? `${error.field}: ${said}` : said);
  return `{"type":"error","error":{"type":"${anthropic}","message":"${message}"},"request_id":"${escapeJson(requestId)}"}`;
}

/** An error as an event of a stream that has begun. */
export function renderStreamError(error: StatorError): string {
  return `data: ${renderErrorBody(error)}\n\n`;
}
