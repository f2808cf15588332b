import { errorBody } from '../api/schemas/responses.ts';
import { refusals } from './refusals.ts';
import type { RouteDoc } from './route-doc.ts';

/** OpenAPI has no words for what follows the change of protocol: docs/realtime.md has. */
export const realtimeDocs: readonly RouteDoc[] = [
  {
    path: '/v1/realtime',
    method: 'get',
    operationId: 'openRealtime',
    summary: 'A conversation in text over WebSocket, in events of the realtime protocol.',
    body: null,
    parameters: [
      {
        name: 'model',
        in: 'query',
        description: 'Name or alias of a model; absent: `session.update` names it.',
        schema: { type: 'string' },
      },
    ],
    answers: [
      { status: '101', description: 'Events follow, both ways.', schema: null },
      { status: '426', description: 'The request does not ask for WebSocket.', schema: errorBody },
    ],
    access: 'open',
    refusals: refusals.none,
  },
];
