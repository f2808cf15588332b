import { createHash } from 'node:crypto';
import { StatorError } from '#lib/errors/errors.ts';
import type { KvIsolation, Nvext } from '../api/schemas/nvext.ts';
import type { IdentifyingBody } from './body-identity.ts';
import type { AgentIdentity } from './identity.ts';

/** What the last message of a request is: what made the agent ask. */
type InputTrigger = 'user_message' | 'tool_result' | 'other';

/** What a request says of the agent that sent it, and wants done for the agent's sake. */
export interface AgentFacts {
  /** null: nobody said. */
  readonly identity: AgentIdentity | null;
  readonly trigger: InputTrigger;
  /** Identifiers of the calls whose results it brings. */
  readonly toolResults: readonly string[];
  /** Whether the beginning of the next turn shall be computed once this one has ended. */
  readonly speculativePrefill: boolean;
  /** Seconds that its prompt shall stay cached; 0: what the session kept before may go. null: nothing is said. */
  readonly keepSeconds: number | null;
  /** Requests that the session has in all; null: unknown. */
  readonly totalRequests: number | null;
  /** Milliseconds that the client aims at; null: it does not say. */
  readonly targets: { readonly ttftMs: number | null; readonly itlMs: number | null };
}

/** Seconds of a pin that says nothing else, and the longest there is; both are Anthropic's. */
const defaultKeepSeconds = 300;
const mostKeepSeconds = 3600;

/** What else decides: the gateway and the API that was called. */
interface AgentOffer {
  /** Seconds that an API without nvext asks to keep the prompt cached. */
  readonly keepSeconds?: number | null;
  /** Whether next turns are computed in advance. Default: they are. */
  readonly speculates?: boolean;
}

interface AgentBody extends IdentifyingBody {
  readonly messages?: readonly RoleMessage[];
  readonly n?: number | null | undefined;
}

interface RoleMessage {
  readonly role: string;
  readonly tool_call_id?: string | null | undefined;
}

/** The agent's side of a request. Throws StatorError naming what cannot be honoured. */
export function agentFactsOf(body: AgentBody, identity: AgentIdentity | null, offered: AgentOffer = {}): AgentFacts {
  const { nvext } = body;
  const hints = nvext?.agent_hints;
  const speculativePrefill = hints?.speculative_prefill === true;
  if (speculativePrefill && (body.n ?? 1) > 1) {
    const field = 'nvext.agent_hints.speculative_prefill';
    throw StatorError.unsupported(field, `\`${field}\` needs one choice: of several nobody knows which goes on`);
  }
  if (speculativePrefill && offered.speculates === false) {
    const field = 'nvext.agent_hints.speculative_prefill';
    throw StatorError.unsupported(field, `\`${field}\` is not offered: this gateway computes nothing in advance`);
  }
  return {
    identity,
    trigger: triggerOf(body.messages),
    toolResults: resultsOf(body.messages ?? []),
    speculativePrefill,
    keepSeconds: keepSecondsOf(nvext, identity, offered.keepSeconds ?? null),
    totalRequests: hints?.total_requests ?? null,
    targets: { ttftMs: nvext?.router?.ttft_target ?? null, itlMs: nvext?.router?.itl_target ?? null },
  };
}

/** A session that ends keeps nothing; else the longest of what is asked counts. */
function keepSecondsOf(
  nvext: Partial<Nvext> | null | undefined,
  identity: AgentIdentity | null,
  hinted: number | null,
): number | null {
  const { cache_control: cache, session_control: control, agent_hints: hints } = nvext ?? {};
  if (identity?.isFinal === true) return 0;
  const asked: number[] = hinted === null ? [] : [hinted];
  // NeMo Agent Toolkit says how many requests follow, and how far apart.
  if (cache) asked.push(secondsOf(cache.ttl) ?? reuseSeconds(hints) ?? defaultKeepSeconds);
  if (control?.action === 'open') asked.push(control.timeout ?? defaultKeepSeconds);
  return asked.length === 0 ? null : Math.min(mostKeepSeconds, Math.max(...asked));
}

const unitSeconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };

/** A time to live in seconds, or as Anthropic and NeMo Agent Toolkit write it: "5m", "90s". */
export function secondsOf(ttl: number | string | null | undefined): number | null {
  if (typeof ttl !== 'string') return ttl ?? null;
  return Number.parseInt(ttl, 10) * (unitSeconds[ttl.slice(-1)] ?? 1);
}

function reuseSeconds(hints: Nvext['agent_hints']): number | null {
  const { total_requests: requests, iat } = hints ?? {};
  return requests && iat ? Math.max(1, Math.ceil((requests * iat) / 1000)) : null;
}

function triggerOf(messages: readonly RoleMessage[] | undefined): InputTrigger {
  const role = messages?.at(-1)?.role;
  if (role === 'user') return 'user_message';
  return role === 'tool' ? 'tool_result' : 'other';
}

/** Results at the end of a conversation are new; those before an answer were brought by an earlier request. */
function resultsOf(messages: readonly RoleMessage[]): string[] {
  const first = messages.findLastIndex(({ role }) => role === 'assistant') + 1;
  return messages.slice(first).flatMap(({ role, tool_call_id: id }) => (role === 'tool' && id ? [id] : []));
}

/**
 * The salt of a request whose KV is kept apart: nobody finds its cached prompts but requests of the same session. Throws
 * StatorError where no session is named.
 */
export function isolatedSalt(salt: string, isolation: KvIsolation | null, identity: AgentIdentity | null): string {
  if (isolation === null || isolation === 'none') return salt;
  if (identity === null) {
    const field = 'nvext.agent_hints.kv_isolation';
    throw StatorError.invalid(field, `Validation: \`${field}\`: \`${isolation}\` needs a session`);
  }
  if (isolation === 'subagent' && identity.parentSessionId === '') return salt;
  const digest = createHash('sha256')
    .update(JSON.stringify([salt, identity.sessionId]))
    .digest('hex');
  return `session:${digest}`;
}
