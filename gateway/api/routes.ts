import type { PathRoutes } from '../http/route-table.ts';
import { listBusyThresholds, setBusyThresholds } from './routes/busy-threshold.ts';
import { chatCompletions } from './routes/chat-completions.ts';
import { completions } from './routes/completions.ts';
import { docsPage, openApi } from './routes/docs.ts';
import { embeddings } from './routes/embeddings.ts';
import { health, live, metrics } from './routes/health.ts';
import { getModel, listModels } from './routes/models.ts';

/** Every path of the REST API. docs/api.md describes them. */
export const routes: Readonly<Record<string, PathRoutes>> = {
  '/v1/chat/completions': { POST: { kind: 'inference', endpoint: 'chat_completions', run: chatCompletions } },
  '/v1/completions': { POST: { kind: 'inference', endpoint: 'completions', run: completions } },
  '/v1/embeddings': { POST: { kind: 'inference', endpoint: 'embeddings', run: embeddings } },
  '/v1/models': { GET: { kind: 'plain', run: listModels } },
  '/v1/models/{id...}': { GET: { kind: 'plain', run: getModel } },
  '/busy_threshold': {
    GET: { kind: 'admin', run: listBusyThresholds },
    POST: { kind: 'admin', run: setBusyThresholds },
  },
  '/health': { GET: { kind: 'plain', run: health } },
  '/live': { GET: { kind: 'plain', run: live } },
  '/metrics': { GET: { kind: 'plain', run: metrics } },
  '/openapi.json': { GET: { kind: 'plain', run: openApi } },
  '/docs': { GET: { kind: 'plain', run: docsPage } },
  '/docs/': { GET: { kind: 'plain', run: docsPage } },
  '/docs/{asset...}': { GET: { kind: 'plain', run: docsPage } },
};
