import type { GatewayContext } from '../../context.ts';
import { type Exchange, sendJson } from '../../http/exchange.ts';
import { embed } from '../../pipeline/embed.ts';
import { escapeJson } from '../../sse/json-escape.ts';
import type { RequestRecord } from '../../telemetry/request-record.ts';
import { embeddingRequest } from '../schemas/embedding.ts';
import { embeddingOptions } from '../translate/embedding-options.ts';
import { type HeaderWishes, headerWishes } from '../translate/header-wishes.ts';
import { validateBody } from '../validate.ts';
import { noteModel } from './note-model.ts';

function renderVector(vector: Float32Array, base64: boolean): string {
  if (!base64) return `[${vector.join(',')}]`;
  return `"${Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString('base64')}"`;
}

/** POST /v1/embeddings */
export async function embeddings(
  ctx: GatewayContext,
  exchange: Exchange,
  record: RequestRecord,
  body: unknown,
): Promise<void> {
  noteModel(record, body);
  const headers = headerWishes(exchange.request.rawHeaders);
  sendJson(exchange, 200, await embeddingsBody(ctx, record, body, { headers, signal: exchange.signal }));
  record.end(null);
}

/** The answer to a request for embeddings, as JSON. */
export async function embeddingsBody(
  ctx: GatewayContext,
  record: RequestRecord,
  body: unknown,
  { headers, signal }: { headers: HeaderWishes; signal: AbortSignal },
): Promise<string> {
  const valid = validateBody(embeddingRequest, body);
  const model = ctx.catalog.resolve(valid.model);
  const { vectors, promptTokens } = await embed(
    ctx,
    model,
    embeddingOptions(valid, model, { record, headers, signal }),
  );
  const base64 = valid.encoding_format === 'base64';
  const data = vectors.map(
    (vector, index) => `{"object":"embedding","index":${index},"embedding":${renderVector(vector, base64)}}`,
  );
  const name = escapeJson(model.entry.name);
  const usage = `{"prompt_tokens":${promptTokens},"total_tokens":${promptTokens}}`;
  return `{"object":"list","data":[${data.join(',')}],"model":"${name}","usage":${usage}}`;
}
