import { createHash } from 'node:crypto';
import { headerNames } from '../api/translate/header-names.ts';
import { boundedText, type HeaderValues } from '../api/translate/header-values.ts';

/** Bytes of a session's identifier that the router takes. */
const mostSessionBytes = 256;

/** In whose words an identity was stated. */
export type IdentitySource =
  | 'stator'
  | 'dynamo'
  | 'claude-code'
  | 'codex'
  | 'opencode'
  | 'session_control'
  | 'agent_context'
  | 'prefix_id'
  | 'user'
  | 'prompt_cache_key';

/** Which conversation a request belongs to. A subagent is a session of its own, with a parent. */
export interface AgentIdentity {
  readonly sessionId: string;
  /** Session of the agent that began this one; empty: none, or nobody said. */
  readonly parentSessionId: string;
  /** Whether the client says that no request of the session follows. */
  readonly isFinal: boolean;
  readonly source: IdentitySource;
}

interface Vendor {
  readonly source: IdentitySource;
  /** Headers that name the agent; the first that is there counts. */
  readonly agent: readonly string[];
  /** Headers that name the whole conversation: the session where no agent is named, else its parent where none is. */
  readonly session: readonly string[];
  readonly parent: readonly string[];
}

/** The first vendor that names a session counts, so that whoever adds our headers to an agent's own is heard. */
const vendors: readonly Vendor[] = [
  // Either of the two may name the parent of a session that the other names.
  vendor('stator', { session: [headerNames.sessionId[0]], parent: headerNames.parentSessionId }),
  vendor('dynamo', { session: [headerNames.sessionId[1]], parent: headerNames.parentSessionId }),
  vendor('claude-code', {
    agent: ['x-claude-code-agent-id'],
    session: ['x-claude-code-session-id'],
    parent: ['x-claude-code-parent-agent-id'],
  }),
  // Older releases wrote underscores.
  vendor('codex', {
    session: ['thread-id', 'session-id', 'session_id', 'conversation_id'],
    parent: ['x-codex-parent-thread-id'],
  }),
  vendor('opencode', {
    session: ['x-session-id', 'x-session-affinity', 'x-opencode-session'],
    parent: ['x-parent-session-id'],
  }),
];

function vendor(source: IdentitySource, names: Partial<Omit<Vendor, 'source'>>): Vendor {
  return { source, agent: [], session: [], parent: [], ...names };
}

/** The identity that headers state; null: none. Throws `invalid_argument` naming a header that is too long. */
export function identityOfHeaders(headers: HeaderValues): AgentIdentity | null {
  const text = (names: readonly string[]): string => boundedText(headers.first(names), mostSessionBytes);
  const isFinal = /^(true|1)$/i.test(headers.text(headerNames.sessionFinal));
  for (const { source, agent, session, parent } of vendors) {
    const [named, conversation] = [text(agent), text(session)];
    if (named === '' && conversation === '') continue;
    const parentId = text(parent) || (named === '' ? '' : conversation);
    return identityOf(source, named || conversation, parentId, isFinal);
  }
  return null;
}

/** A session is no parent of itself. */
export function identityOf(
  source: IdentitySource,
  sessionId: string,
  parentId: string,
  isFinal: boolean,
): AgentIdentity {
  return { sessionId, parentSessionId: parentId === sessionId ? '' : parentId, isFinal, source };
}

/** An identifier of any length as one that the router takes. */
export function boundedId(id: string): string {
  return Buffer.byteLength(id) <= mostSessionBytes ? id : `sha256:${createHash('sha256').update(id).digest('hex')}`;
}
