import { expect } from 'chai';
import { HeaderValues } from '../api/translate/header-values.ts';
import { identityOfBody } from './body-identity.ts';
import { type AgentIdentity, identityOfHeaders } from './identity.ts';
import { digestOfSession, sessionNaming } from './redact.ts';

type Short = readonly [source: string, session: string, parent?: string, final?: boolean] | null;

function short(identity: AgentIdentity | null): Short {
  if (identity === null) return null;
  const { source, sessionId, parentSessionId, isFinal } = identity;
  if (isFinal) return [source, sessionId, parentSessionId, true];
  return parentSessionId === '' ? [source, sessionId] : [source, sessionId, parentSessionId];
}

const ofHeaders = (...raw: string[]): Short => short(identityOfHeaders(new HeaderValues(raw)));

describe('the identity of agents in headers', () => {
  const cases: readonly (readonly [string, readonly string[], Short])[] = [
    ['nothing', [], null],
    ['only the end of a session', ['x-dynamo-session-final', 'true'], null],
    [
      'ours',
      ['X-Stator-Session-Id', 'a', 'x-stator-parent-session-id', 'b', 'x-stator-session-final', 'TRUE'],
      ['stator', 'a', 'b', true],
    ],
    ["Dynamo's", ['x-dynamo-session-id', 'a', 'x-dynamo-parent-session-id', 'b'], ['dynamo', 'a', 'b']],
    [
      "ours with Dynamo's parent",
      ['x-stator-session-id', 'a', 'x-dynamo-parent-session-id', 'b'],
      ['stator', 'a', 'b'],
    ],
    [
      'a session that is its own parent',
      ['x-dynamo-session-id', 'a', 'x-dynamo-parent-session-id', 'a'],
      ['dynamo', 'a'],
    ],
    ['Claude Code', ['x-claude-code-session-id', 's'], ['claude-code', 's']],
    [
      'a subagent of Claude Code',
      ['x-claude-code-session-id', 's', 'x-claude-code-agent-id', 'c'],
      ['claude-code', 'c', 's'],
    ],
    [
      'a subagent of a subagent',
      ['x-claude-code-session-id', 's', 'x-claude-code-agent-id', 'c', 'x-claude-code-parent-agent-id', 'p'],
      ['claude-code', 'c', 'p'],
    ],
    ['Codex', ['thread-id', 't', 'x-codex-parent-thread-id', 'u'], ['codex', 't', 'u']],
    ['an older Codex', ['session-id', 't'], ['codex', 't']],
    ['a yet older Codex', ['conversation_id', 'c', 'session_id', 's'], ['codex', 's']],
    ['OpenCode', ['x-session-id', 't', 'x-parent-session-id', 'u'], ['opencode', 't', 'u']],
    ['OpenCode by affinity', ['x-session-affinity', 't'], ['opencode', 't']],
    [
      'the first vendor that names a session',
      ['x-session-id', '5', 'thread-id', '4', 'x-claude-code-session-id', '3', 'x-dynamo-session-id', '2'],
      ['dynamo', '2'],
    ],
    ['a parent of another vendor', ['x-session-id', 't', 'x-codex-parent-thread-id', 'u'], ['opencode', 't']],
  ];
  for (const [name, raw, expected] of cases) it(name, () => expect(ofHeaders(...raw)).to.deep.equal(expected));

  it('is refused by name where it is too long', () => {
    expect(ofHeaders('thread-id', 'é'.repeat(128))).to.deep.equal(['codex', 'é'.repeat(128)]);
    for (const name of ['thread-id', 'x-codex-parent-thread-id'])
      expect(() => ofHeaders('thread-id', 't', 'x-codex-parent-thread-id', 'u', name, 'v')).not.to.throw();
    expect(() => ofHeaders('thread-id', 'é'.repeat(129))).to.throw('`thread-id`: must have at most 256 bytes');
    const parent = ['x-claude-code-agent-id', 'c', 'x-claude-code-parent-agent-id', 'p'.repeat(257)];
    expect(() => ofHeaders(...parent)).to.throw('`x-claude-code-parent-agent-id`');
  });
});

describe('the identity of agents in bodies', () => {
  const uuid = '57a121ec-f78c-48c3-a745-e3036a3ecc33';
  const legacy = `user_${'a'.repeat(64)}_account__session_${uuid}`;
  const context = { session_id: 's', trajectory_id: 't' };
  const cases: readonly (readonly [string, Parameters<typeof identityOfBody>[0], Short])[] = [
    ['nothing', {}, null],
    ['session_control', { nvext: { session_control: { session_id: 's' } } }, ['session_control', 's']],
    [
      'a session that is closed',
      { nvext: { session_control: { session_id: 's', action: 'close' } } },
      ['session_control', 's', '', true],
    ],
    ['agent_context', { nvext: { agent_context: { session_id: 's' } } }, ['agent_context', 's']],
    ['a trajectory', { nvext: { agent_context: context } }, ['agent_context', 's/t']],
    [
      'the end of a trajectory with a parent',
      { nvext: { agent_context: { ...context, parent_trajectory_id: 'u', trajectory_final: true } } },
      ['agent_context', 's/t', 's/u', true],
    ],
    ['prefix_id', { nvext: { agent_hints: { prefix_id: 'p' } }, prompt_cache_key: 'k' }, ['prefix_id', 'p']],
    ["Claude Code's user", { user: JSON.stringify({ session_id: uuid }), prompt_cache_key: 'k' }, ['user', uuid]],
    ["an older Claude Code's user", { user: legacy }, ['user', uuid]],
    ['a user', { user: 'someone_session_1' }, null],
    ['a user in JSON', { user: '{"session_id":7}' }, null],
    ['a user in broken JSON', { user: '{"session_id":' }, null],
    ['a cache key', { prompt_cache_key: 'k' }, ['prompt_cache_key', 'k']],
    [
      'session_control first',
      { nvext: { session_control: { session_id: 's' }, agent_context: { session_id: 'c' } } },
      ['session_control', 's'],
    ],
  ];
  for (const [name, body, expected] of cases)
    it(name, () => expect(short(identityOfBody(body))).to.deep.equal(expected));

  it('is never longer than the router takes', () => {
    const id = 'x'.repeat(256);
    const agent = identityOfBody({ nvext: { agent_context: { session_id: id, trajectory_id: id } } });
    expect(agent?.sessionId).to.match(/^sha256:[\da-f]{64}$/);
    expect(identityOfBody({ prompt_cache_key: 'x'.repeat(257) })?.sessionId).to.match(/^sha256:/);
  });
});

describe('names of sessions that are shown', () => {
  it('are digests unless plain names are wanted', () => {
    expect(digestOfSession('secret')).to.match(/^sha256:[\da-f]{24}$/);
    expect(digestOfSession('')).to.equal('');
    expect(sessionNaming('plain')('secret')).to.equal('secret');
    expect(sessionNaming('hashed')('secret')).to.equal(digestOfSession('secret'));
  });
});
