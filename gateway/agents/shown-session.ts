import { z } from 'zod';
import type { SessionFigures } from './session-book.ts';

const count = z.int().min(0);

/** A session as the API and the console show it. */
export const agentSession = z
  .object({
    object: z.literal('agent.session'),
    id: z.string().describe('Its name, or a digest of it, as the gateway is set.'),
    parent_id: z.string().nullable().describe('Of the agent that began this one.'),
    source: z.string().describe('In whose words the session was named.'),
    first_request_at: z.number().describe('Unix time in seconds.'),
    last_request_at: z.number(),
    final: z.boolean().describe('Whether the client said that no request follows.'),
    running: count.describe('Prompts that run now.'),
    requests: count,
    failed: count,
    prompt_tokens: count,
    cached_tokens: count.describe('Of them, those that were found cached.'),
    computed_tokens: count.describe('Of them, those that were computed: what its prompts cost.'),
    prefill_ms: z.number().describe('Milliseconds in which workers computed them.'),
    output_tokens: count,
    speculative_tokens: count.describe('Tokens of next turns that were prepared in advance.'),
    tool_calls: count.describe('Calls that the model asked for.'),
    tool_results: count.describe('Results that came back.'),
    tool_ms: z.number().describe('Milliseconds between the two, together.'),
  })
  .meta({ id: 'AgentSession' });

export type ShownSession = z.infer<typeof agentSession>;

export const agentSessionList = z
  .object({
    object: z.literal('list'),
    data: z.array(agentSession),
    sessions: count.describe('All that have an account.'),
  })
  .meta({ id: 'AgentSessionList' });

export function shownSession({ name, parentName, source, counts, ...session }: SessionFigures): ShownSession {
  const { promptTokens, cachedTokens } = counts;
  return {
    object: 'agent.session',
    id: name,
    parent_id: parentName === '' ? null : parentName,
    source,
    first_request_at: session.firstUnixMs / 1000,
    last_request_at: session.lastUnixMs / 1000,
    final: session.isFinal,
    running: session.running,
    requests: counts.requests,
    failed: counts.failed,
    prompt_tokens: promptTokens,
    cached_tokens: cachedTokens,
    computed_tokens: Math.max(0, promptTokens - cachedTokens),
    prefill_ms: Math.round(counts.prefillMs * 1000) / 1000,
    output_tokens: counts.outputTokens,
    speculative_tokens: counts.speculativeTokens,
    tool_calls: counts.toolCalls,
    tool_results: counts.toolResults,
    tool_ms: counts.toolMs,
  };
}
