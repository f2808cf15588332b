import type { ResolvedModel } from '../../models/catalog.ts';
import type { EmbedOptions } from '../../pipeline/embed.ts';
import type { RequestRecord } from '../../telemetry/request-record.ts';
import type { EmbeddingRequestBody } from '../schemas/embedding.ts';
import type { HeaderWishes } from './header-wishes.ts';
import { inputsOf } from './inputs.ts';
import { routingOf } from './routing.ts';

/** What a request for embeddings asks of the pipeline, by the names of OpenAI's fields. Throws `invalid_argument`. */
export function embeddingOptions(
  body: EmbeddingRequestBody,
  model: ResolvedModel,
  { record, headers, signal }: { record: RequestRecord; headers: HeaderWishes; signal: AbortSignal },
): EmbedOptions {
  return {
    prompts: inputsOf(body.input, model),
    addSpecialTokens: body.add_special_tokens ?? true,
    truncateTokens: body.truncate_prompt_tokens ?? 0,
    dimensions: body.dimensions ?? 0,
    fields: { input: 'input', dimensions: 'dimensions' },
    routing: routingOf(body, headers, null, { nowMs: Date.now() }),
    trace: record.traceContext(headers),
    signal,
  };
}
