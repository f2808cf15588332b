import { isUtf8 } from 'node:buffer';
import { StatorError } from '#lib/errors/errors.ts';
import { readBytes } from './body-bytes.ts';
import type { Exchange } from './exchange.ts';
import { findJsonError } from './json-error.ts';

/** `application/json` or `application/*+json`, with or without parameters. */
const jsonMediaType = /^application\/(json|[\w.+-]+\+json)\s*(;|$)/i;

const workerIdFields = ['backend_instance_id', 'decode_worker_id', 'prefill_worker_id', 'allowed_worker_ids'];

/**
 * Integers of workers' identifiers keep all 64 bits, as decimal strings: Dynamo's clients send them as numbers, which
 * JavaScript would round. Bodies without such fields are spared the reviver.
 */
function parseBody(text: string): unknown {
  if (!text.includes('"nvext"') || !workerIdFields.some((name) => text.includes(`"${name}"`))) return JSON.parse(text);
  try {
    return JSON.parse(text, exactId as (key: string, value: unknown) => unknown);
  } catch (thrown) {
    // The reviver, unlike the parser, cannot follow any depth of nesting.
    if (thrown instanceof RangeError) return JSON.parse(text);
    throw thrown;
  }
}

function exactId(key: string, value: unknown, { source = '' }: { source?: string }): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value) || !/^\d+$/.test(source)) return value;
  return workerIdFields.includes(key) || /^\d+$/.test(key) ? source : value;
}

/**
 * The JSON value of a request's body; throws StatorError that says what is wrong with it and where. `timeoutMs`: for its
 * first bytes; default 20 000.
 */
export async function readJsonBody(exchange: Exchange, limitBytes: number, timeoutMs?: number): Promise<unknown> {
  const contentType = exchange.request.headers['content-type'] ?? '';
  if (!jsonMediaType.test(contentType)) {
    const got = contentType === '' ? 'none' : `\`${contentType.slice(0, 100)}\``;
    throw new StatorError(
      'unsupported_media_type',
      `Content-Type must be application/json or application/*+json, got ${got}`,
    );
  }
  const bytes = await readBytes(exchange, limitBytes, timeoutMs);
  if (bytes.length === 0) throw StatorError.invalid('', 'The request body is empty; a JSON object is expected');
  if (!isUtf8(bytes)) throw StatorError.invalid('', 'The request body is not valid UTF-8');
  const text = bytes.toString('utf8');
  try {
    return parseBody(text);
  } catch (thrown) {
    const error = findJsonError(text);
    const message = `The request body is not valid JSON: ${error.message} at position ${error.position} (line ${error.line}, column ${error.column})`;
    throw StatorError.invalid('', message, { cause: thrown });
  }
}
