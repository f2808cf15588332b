import type { Nvext } from '../api/schemas/nvext.ts';
import { type AgentIdentity, boundedId, identityOf } from './identity.ts';

/** What of a body may say which conversation it belongs to. */
export interface IdentifyingBody {
  readonly nvext?: Partial<Nvext> | null | undefined;
  readonly user?: string | null | undefined;
  readonly prompt_cache_key?: string | null | undefined;
}

/** The identity that a body states; null: none. Older Dynamo's fields, then Claude Code's user, then OpenAI's cache key. */
export function identityOfBody({ nvext, user, prompt_cache_key: key }: IdentifyingBody): AgentIdentity | null {
  const { session_control: control, agent_context: context, agent_hints: hints } = nvext ?? {};
  const isFinal = control?.action === 'close' || context?.trajectory_final === true;
  if (control) return identityOf('session_control', control.session_id, '', isFinal);
  if (context) return trajectory(context, isFinal);
  if (hints?.prefix_id) return identityOf('prefix_id', hints.prefix_id, '', isFinal);
  const session = sessionOfUser(user ?? '');
  if (session !== '') return identityOf('user', boundedId(session), '', false);
  return key ? identityOf('prompt_cache_key', boundedId(key), '', false) : null;
}

/** Trajectories are the agents of one session; their names need be unique in it only. */
function trajectory(context: NonNullable<Nvext['agent_context']>, isFinal: boolean): AgentIdentity {
  const { session_id: session, trajectory_id: own, parent_trajectory_id: parent } = context;
  const named = (id: string | null | undefined): string => (id ? boundedId(`${session}/${id}`) : '');
  return identityOf('agent_context', named(own) || session, named(parent), isFinal);
}

/**
 * The session in what Claude Code says of its user (`metadata.user_id`): JSON with `session_id`, in older releases
 * `user_<hash>_account_<id>_session_<id>`. Empty for every other user.
 */
export function sessionOfUser(user: string): string {
  const legacy = /^user_[\da-f]{64}_account_[\w-]*_session_([\da-f-]{36})$/.exec(user)?.[1];
  if (legacy !== undefined) return legacy;
  if (!user.startsWith('{')) return '';
  try {
    const { session_id: session } = JSON.parse(user) as { session_id?: unknown };
    return typeof session === 'string' ? session : '';
  } catch {
    return '';
  }
}
