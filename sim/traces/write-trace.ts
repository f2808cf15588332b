import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { StatorError } from '#lib/errors/errors.ts';
import type { TraceRequest } from './trace-request.ts';

type Requests = Iterable<TraceRequest> | AsyncIterable<TraceRequest>;

/**
 * Writes requests as Mooncake rows; returns how many. Their prompts must consist of blocks of one size.
 * Throws `invalid_argument` for a file that cannot be written.
 */
export async function writeTrace(path: string, requests: Requests, maxRequests = Infinity): Promise<number> {
  let rows = 0;
  async function* lines(): AsyncGenerator<string> {
    if (maxRequests < 1) return;
    for await (const request of requests) {
      yield `${JSON.stringify(rowOf(request))}\n`;
      if (++rows >= maxRequests) return;
    }
  }
  try {
    await pipeline(lines, createWriteStream(path));
  } catch (cause) {
    if (cause instanceof StatorError) throw cause;
    const because = cause instanceof Error ? cause.message : String(cause);
    throw StatorError.invalid('generate', `The trace ${path} cannot be written: ${because}`, { cause });
  }
  return rows;
}

function rowOf(request: TraceRequest): Record<string, unknown> {
  const { sessionId, arrivalMs, delayMs, promptTokens, outputTokens, prompt, priority, strictPriority } = request;
  return {
    ...(sessionId === '' ? {} : { session_id: sessionId }),
    ...(arrivalMs === undefined ? {} : { timestamp: arrivalMs }),
    ...(delayMs === undefined ? {} : { delay: delayMs }),
    input_length: promptTokens,
    output_length: outputTokens,
    hash_ids: [...prompt.ids],
    ...(priority === 0 ? {} : { priority }),
    ...(strictPriority === 0 ? {} : { strict_priority: strictPriority }),
  };
}
