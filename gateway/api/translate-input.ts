import { randomUUID } from 'node:crypto';
import { sessionNaming } from '../agents/redact.ts';
import type { GatewayContext } from '../context.ts';
import type { TranslateInput } from './translate/job.ts';

/** What the translation of a request that begins now knows besides its body. */
export function translateInput({ config }: GatewayContext): TranslateInput {
  return {
    requestId: randomUUID(),
    nowMs: Date.now(),
    timeoutMs: config.requestTimeoutSeconds * 1000,
    reasoningField: config.reasoningField,
    dispatches: { calls: config.dispatchToolCalls, reasoning: config.dispatchReasoning },
    enforceStrict: config.strictTools === 'enforce',
    speculates: config.speculativePrefills > 0,
    sessionNaming: sessionNaming(config.sessionIds),
  };
}
