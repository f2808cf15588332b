import { createHash } from 'node:crypto';

/** How identifiers of sessions are shown in logs, traces and the console: who knows one can still be found by its digest. */
export type SessionNaming = (id: string) => string;

/** Empty stays empty. */
export const digestOfSession: SessionNaming = (id) =>
  id === '' ? '' : `sha256:${createHash('sha256').update(id).digest('hex').slice(0, 24)}`;

/** `plain` shows identifiers as they came. */
export function sessionNaming(mode: 'hashed' | 'plain'): SessionNaming {
  return mode === 'plain' ? (id) => id : digestOfSession;
}
