import { setting } from '#lib/config/settings.ts';

const group = 'Agents';

/** Settings of what the gateway does for agents. docs/agents.md describes it. */
export const agentSettings = {
  sessionIds: setting.choice(['hashed', 'plain'], {
    default: 'hashed',
    group,
    help: 'How sessions are named in traces, request traces and the console: by digests, or as clients call them.',
  }),
};
