import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';
import type { TraceRequest } from './trace-request.ts';

/** Writes requests as Mooncake rows; returns how many. Their prompts must consist of blocks of one size. */
export async function writeTrace(path: string, requests: Iterable<TraceRequest>): Promise<number> {
  const file = createWriteStream(path);
  let rows = 0;
  for (const request of requests) {
    rows++;
    if (!file.write(`${JSON.stringify(rowOf(request))}\n`)) await once(file, 'drain');
  }
  file.end();
  await finished(file);
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
