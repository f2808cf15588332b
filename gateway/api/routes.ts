import { consolePage, consoleStateRoute } from '../console/routes.ts';
import type { InferenceRoute, PathRoutes, PlainRoute } from '../http/route-table.ts';
import type { Endpoint } from '../metrics/metrics.ts';
import { cancelBatch, createBatch, getBatch, listBatches } from './routes/batches.ts';
import { listBusyThresholds, setBusyThresholds } from './routes/busy-threshold.ts';
import { chatCompletions } from './routes/chat-completions.ts';
import { classify } from './routes/classify.ts';
import { completions } from './routes/completions.ts';
import { docsPage, openApi } from './routes/docs.ts';
import { embeddings } from './routes/embeddings.ts';
import { createFile, deleteFile, getFile, getFileContent, listFiles } from './routes/files.ts';
import { health, live, metrics } from './routes/health.ts';
import { notOffered } from './routes/media.ts';
import { countMessageTokens, messages } from './routes/messages.ts';
import { getModel, listModels } from './routes/models.ts';
import { realtime } from './routes/realtime.ts';
import {
  cancelResponse,
  countInputTokens,
  createResponse,
  deleteResponse,
  getResponse,
  listInputItems,
} from './routes/responses.ts';
import { rerank, scoreTexts } from './routes/scoring.ts';
import { getSession, listSessions } from './routes/sessions.ts';
import { detokenize, tokenize } from './routes/tokenize.ts';

function infer(endpoint: Endpoint, run: InferenceRoute['run']): PathRoutes {
  return { POST: { kind: 'inference', endpoint, run } };
}

function get(run: PlainRoute['run']): PathRoutes {
  return { GET: { kind: 'plain', run } };
}

/** Told to everybody, key or not. */
function open(run: PlainRoute['run']): PathRoutes {
  return { GET: { kind: 'open', run } };
}

/** What operators look at; told to everybody who reaches the port that serves it. */
function operate(run: PlainRoute['run']): PathRoutes {
  return { GET: { kind: 'open', forOperators: true, run } };
}

/** Every path of the REST API. docs/api.md describes them. */
export const routes: Readonly<Record<string, PathRoutes>> = {
  '/v1/chat/completions': infer('chat_completions', chatCompletions),
  '/v1/completions': infer('completions', completions),
  '/v1/responses': infer('responses', createResponse),
  '/v1/responses/input_tokens': infer('response_tokens', countInputTokens),
  '/v1/responses/{id}': { GET: { kind: 'plain', run: getResponse }, DELETE: { kind: 'plain', run: deleteResponse } },
  '/v1/responses/{id}/cancel': { POST: { kind: 'plain', run: cancelResponse } },
  '/v1/responses/{id}/input_items': get(listInputItems),
  '/v1/files': { GET: { kind: 'plain', run: listFiles }, POST: { kind: 'plain', run: createFile } },
  '/v1/files/{id}': { GET: { kind: 'plain', run: getFile }, DELETE: { kind: 'plain', run: deleteFile } },
  '/v1/files/{id}/content': get(getFileContent),
  '/v1/batches': { GET: { kind: 'plain', run: listBatches }, POST: { kind: 'plain', run: createBatch } },
  '/v1/batches/{id}': get(getBatch),
  '/v1/batches/{id}/cancel': { POST: { kind: 'plain', run: cancelBatch } },
  '/v1/messages': infer('messages', messages),
  '/v1/messages/count_tokens': infer('count_tokens', countMessageTokens),
  '/v1/embeddings': infer('embeddings', embeddings),
  '/v1/score': infer('score', scoreTexts),
  '/score': infer('score', scoreTexts),
  '/v1/rerank': infer('rerank', rerank),
  '/v2/rerank': infer('rerank', rerank),
  '/rerank': infer('rerank', rerank),
  '/v1/classify': infer('classify', classify),
  '/classify': infer('classify', classify),
  '/tokenize': infer('tokenize', tokenize),
  '/v1/tokenize': infer('tokenize', tokenize),
  '/detokenize': infer('detokenize', detokenize),
  '/v1/detokenize': infer('detokenize', detokenize),
  '/v1/images/generations': { POST: notOffered('makes images') },
  '/v1/images/edits': { POST: notOffered('edits images') },
  '/v1/images/variations': { POST: notOffered('makes images') },
  '/v1/videos': { POST: notOffered('makes videos') },
  '/v1/videos/stream': { POST: notOffered('makes videos') },
  '/v1/audio/speech': { POST: notOffered('speaks') },
  '/v1/audio/transcriptions': { POST: notOffered('transcribes speech') },
  '/v1/audio/translations': { POST: notOffered('translates speech') },
  '/v1/realtime': open(realtime),
  '/v1/models': get(listModels),
  '/v1/models/{id...}': get(getModel),
  '/v1/agents/sessions': get(listSessions),
  '/v1/agents/sessions/{id...}': get(getSession),
  '/busy_threshold': {
    GET: { kind: 'admin', run: listBusyThresholds },
    POST: { kind: 'admin', run: setBusyThresholds },
  },
  '/health': open(health),
  '/live': open(live),
  '/metrics': operate(metrics),
  '/openapi.json': open(openApi),
  '/console': operate(consolePage),
  '/console/': operate(consolePage),
  '/console/state': { GET: { kind: 'admin', run: consoleStateRoute } },
  '/console/{asset...}': operate(consolePage),
  '/docs': open(docsPage),
  '/docs/': open(docsPage),
  '/docs/{asset...}': open(docsPage),
};
