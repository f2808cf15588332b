import { agentSession, agentSessionList } from '../agents/shown-session.ts';
import { refusals } from './refusals.ts';
import { answered, type Parameter, type RouteDoc } from './route-doc.ts';

const limit: Parameter = {
  name: 'limit',
  in: 'query',
  description: 'Most sessions.',
  schema: { type: 'integer', minimum: 1, maximum: 100, default: 20 },
};

/** Paths that tell of agents. */
export const agentDocs: readonly RouteDoc[] = [
  {
    path: '/v1/agents/sessions',
    method: 'get',
    operationId: 'listAgentSessions',
    summary: 'What sessions of agents have used at the gateways of one store, the one used last first.',
    body: null,
    answers: [answered('The sessions.', agentSessionList)],
    parameters: [limit],
    refusals: refusals.list,
  },
  {
    path: '/v1/agents/sessions/{id}',
    method: 'get',
    operationId: 'getAgentSession',
    summary: 'What one session has used, by the name that its requests have.',
    body: null,
    answers: [answered('The session.', agentSession)],
    refusals: refusals.session,
  },
];
