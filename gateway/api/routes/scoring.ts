import { StatorError } from '#lib/errors/errors.ts';
import type { GatewayContext } from '../../context.ts';
import { type Exchange, sendJson } from '../../http/exchange.ts';
import type { ResolvedModel } from '../../models/catalog.ts';
import { type Scored, type ScoreOptions, score } from '../../pipeline/score.ts';
import type { RequestRecord } from '../../telemetry/request-record.ts';
import { type RerankRequestBody, rerankRequest, type ScoreRequestBody, scoreRequest } from '../schemas/scoring.ts';
import { headerWishes } from '../translate/header-wishes.ts';
import { routingOf } from '../translate/routing.ts';
import { validateBody } from '../validate.ts';
import { noteModel } from './note-model.ts';

/** Pairs of several queries that are scored at once. */
const queriesAtOnce = 4;

type Asked = Omit<ScoreOptions, 'query' | 'documents' | 'fields'>;

function askedBy(body: ScoreRequestBody | RerankRequestBody, exchange: Exchange, record: RequestRecord): Asked {
  const headers = headerWishes(exchange.request.rawHeaders);
  return {
    routing: routingOf(body, headers, null, { nowMs: Date.now() }),
    trace: record.traceContext(headers),
    signal: exchange.signal,
  };
}

/** POST /v1/score and /score: one text against many, or pairs. */
export async function scoreTexts(
  ctx: GatewayContext,
  exchange: Exchange,
  record: RequestRecord,
  body: unknown,
): Promise<void> {
  noteModel(record, body);
  const valid = validateBody(scoreRequest, body);
  const model = ctx.catalog.resolve(valid.model);
  const left = typeof valid.text_1 === 'string' ? [valid.text_1] : valid.text_1;
  const right = typeof valid.text_2 === 'string' ? [valid.text_2] : valid.text_2;
  if (left.length > 1 && left.length !== right.length) {
    const message = `Validation: \`text_2\`: ${left.length} texts in \`text_1\` need as many here, not ${right.length}`;
    throw StatorError.invalid('text_2', message);
  }
  const asked = askedBy(valid, exchange, record);
  const [only = ''] = left;
  const fields = { query: 'text_1', documents: 'text_2' };
  const { scores, promptTokens } =
    left.length === 1
      ? await score(ctx, model, { ...asked, query: only, documents: right, fields })
      : await scorePairs(ctx, model, asked, { left, right });
  const data = scores.map((value, index) => ({ index, object: 'score', score: value }));
  sendJson(exchange, 200, JSON.stringify({ ...listHead('score', exchange, model), data, usage: usage(promptTokens) }));
  record.end(null);
}

async function scorePairs(
  ctx: GatewayContext,
  model: ResolvedModel,
  asked: Asked,
  { left, right }: { left: readonly string[]; right: readonly string[] },
): Promise<Scored> {
  const scores: number[] = [];
  let promptTokens = 0;
  for (let first = 0; first < left.length; first += queriesAtOnce) {
    const group = left.slice(first, first + queriesAtOnce).map((query, at) => {
      const place = `[${first + at}]`;
      const fields = { query: `text_1${place}`, documents: `text_2` };
      return score(ctx, model, { ...asked, query, documents: [right[first + at] ?? ''], fields });
    });
    for (const scored of await Promise.all(group)) {
      scores.push(...scored.scores);
      promptTokens += scored.promptTokens;
    }
  }
  return { scores, promptTokens };
}

/** POST /v1/rerank, /v2/rerank and /rerank: documents by relevance, best first. */
export async function rerank(
  ctx: GatewayContext,
  exchange: Exchange,
  record: RequestRecord,
  body: unknown,
): Promise<void> {
  noteModel(record, body);
  const valid = validateBody(rerankRequest, body);
  const model = ctx.catalog.resolve(valid.model);
  const documents = valid.documents.map((document) => (typeof document === 'string' ? document : document.text));
  const fields = { query: 'query', documents: 'documents' };
  const o = { ...askedBy(valid, exchange, record), query: valid.query, documents, fields };
  const { scores, promptTokens } = await score(ctx, model, o);
  const shown = valid.return_documents ?? true;
  const ranked = scores
    .map((relevance, index) => ({
      index,
      ...(shown ? { document: { text: documents[index] ?? '' } } : {}),
      relevance_score: relevance,
    }))
    .sort((a, b) => b.relevance_score - a.relevance_score || a.index - b.index);
  const results = ranked.slice(0, valid.top_n || ranked.length);
  const { id, model: name } = listHead('rerank', exchange, model);
  sendJson(exchange, 200, JSON.stringify({ id, model: name, usage: { total_tokens: promptTokens }, results }));
  record.end(null);
}

/** What lists of results begin with. */
export function listHead(kind: string, exchange: Exchange, model: ResolvedModel) {
  const created = Math.floor(Date.now() / 1000);
  return { id: `${kind}-${exchange.requestId}`, object: 'list', created, model: model.entry.name } as const;
}

export function usage(promptTokens: number): { prompt_tokens: number; total_tokens: number } {
  return { prompt_tokens: promptTokens, total_tokens: promptTokens };
}
