import { randomUUID } from 'node:crypto';
import { Task } from '#gen/stator/model/v1/model_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../context.ts';
import type { ResolvedModel } from '../models/catalog.ts';
import type { TraceContext } from '../telemetry/request-record.ts';
import { boundsOf, onWorker } from './embed.ts';
import { inTime } from './in-time.ts';
import type { RoutingWishes } from './request.ts';

export interface ScoreOptions {
  readonly query: string;
  readonly documents: readonly string[];
  /** What the caller calls them. */
  readonly fields: { readonly query: string; readonly documents: string };
  readonly routing: RoutingWishes;
  readonly trace: TraceContext;
  readonly signal: AbortSignal;
}

export interface Scored {
  /** Relevance of each document; higher is better. */
  readonly scores: readonly number[];
  readonly promptTokens: number;
}

/** Scores documents against a query on one worker. */
export function score(ctx: GatewayContext, model: ResolvedModel, o: ScoreOptions): Promise<Scored> {
  return inTime(boundsOf(ctx, o), (signal) => scoreDocuments(ctx, model, { ...o, signal }));
}

async function scoreDocuments(ctx: GatewayContext, model: ResolvedModel, o: ScoreOptions): Promise<Scored> {
  const { card, name } = model.entry;
  if (!(card.capabilities?.tasks ?? []).includes(Task.SCORE)) {
    throw StatorError.unsupported('model', `\`model\`: the model \`${name}\` does not score`);
  }
  const { routing, trace, signal } = o;
  const texts = [o.query, ...o.documents];
  const { encodings } = await ctx.tokenizer.encode({ model: name, texts, addSpecialTokens: false }, { signal });
  const [query, ...documents] = encodings.map(({ tokenIds }) => ({ tokenIds }));
  if (query === undefined || documents.length !== o.documents.length) {
    throw new StatorError('backend_protocol', 'The tokenizer answered another number of encodings.');
  }
  const requestId = randomUUID();
  const promptTokens = encodings.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
  const answer = await onWorker(ctx, model, { requestId, promptTokens, routing, trace, signal }, (engine) =>
    engine.score({ requestId, model: name, query, documents }, { signal }).catch((thrown: unknown) => {
      throw inFields(StatorError.from(thrown), o.fields);
    }),
  );
  if (answer.scores.length !== documents.length) {
    const message = `The worker answered ${answer.scores.length} scores for ${documents.length} documents.`;
    throw new StatorError('backend_protocol', message);
  }
  return { scores: answer.scores, promptTokens: answer.promptTokens };
}

/** The same error about what the caller wrote, not about the token ids that the worker got. */
function inFields(error: StatorError, { query, documents }: ScoreOptions['fields']): StatorError {
  const [, part, place = ''] = /^(query|documents)(\[\d+\])?/.exec(error.field ?? '') ?? [];
  if (part === undefined) return error;
  const field = part === 'query' ? query : `${documents}${place}`;
  const { retryable, facts } = error;
  return new StatorError(error.code, error.message, {
    field,
    cause: error,
    ...(retryable === undefined ? {} : { retryable }),
    ...(facts === undefined ? {} : { facts }),
  });
}
