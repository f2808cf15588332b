import { headerNames } from './header-names.ts';
import { boundedText, type HeaderValues } from './header-values.ts';

/** Bytes of a session's identifier that the router takes. */
const mostSessionBytes = 256;

/** Which conversation a request belongs to. */
export interface SessionIdentity {
  /** Empty: none. */
  readonly id: string;
  /** Session that began this one; empty: none. */
  readonly parentId: string;
  /** Whether the client says that no request of it follows. */
  readonly final: boolean;
}

/**
 * The identity that a client states, in our names or Dynamo's, or that a known coding agent states in its own. The first
 * vendor that names a session counts; a subagent of Claude Code is a session of its own.
 */
export function sessionOf(headers: HeaderValues): SessionIdentity {
  const text = (...names: readonly string[]): string => boundedText(headers.first(names), mostSessionBytes);
  const vendors: readonly (() => { id: string; parentId: string })[] = [
    () => ({
      id: text(...headerNames.sessionId),
      parentId: text(...headerNames.parentSessionId),
    }),
    () => {
      const session = text('x-claude-code-session-id');
      const agent = text('x-claude-code-agent-id');
      if (agent === '') return { id: session, parentId: '' };
      return { id: agent, parentId: text('x-claude-code-parent-agent-id') || session };
    },
    () => ({ id: text('thread-id', 'session-id'), parentId: text('x-codex-parent-thread-id') }),
    () => ({ id: text('x-session-id'), parentId: text('x-parent-session-id') }),
  ];
  const final = /^(true|1)$/i.test(headers.text(headerNames.sessionFinal));
  for (const vendor of vendors) {
    const { id, parentId } = vendor();
    if (id !== '') return { id, parentId: parentId === id ? '' : parentId, final };
  }
  return { id: '', parentId: '', final: false };
}
