import { expect } from 'chai';
import { agentFactsOf, isolatedSalt } from './facts.ts';
import { identityOf } from './identity.ts';

const agent = identityOf('stator', 's', '', false);
const subagent = identityOf('stator', 'c', 's', false);

describe("the agent's side of a request", () => {
  it('tells what made the agent ask, and which results it brings', () => {
    const facts = (...messages: { role: string; tool_call_id?: string }[]) => {
      const { trigger, toolResults } = agentFactsOf({ messages }, null);
      return [trigger, ...toolResults];
    };
    const answer = { role: 'assistant' };
    const result = (id: string) => ({ role: 'tool', tool_call_id: id });
    expect(facts({ role: 'system' }, { role: 'user' })).to.deep.equal(['user_message']);
    expect(facts({ role: 'user' }, answer, result('a'), result('b'))).to.deep.equal(['tool_result', 'a', 'b']);
    expect(facts(answer, result('a'), answer, result('b'))).to.deep.equal(['tool_result', 'b']);
    expect(facts(answer, result('a'), { role: 'user' })).to.deep.equal(['user_message', 'a']);
    expect(facts(answer)).to.deep.equal(['other']);
    expect(agentFactsOf({}, null)).to.deep.include({ trigger: 'other', toolResults: [] });
  });

  it('keeps prompts for as long as the longest of what is asked, an hour at most', () => {
    const keep = (nvext: object, hinted?: number) =>
      agentFactsOf({ nvext }, agent, hinted === undefined ? {} : { keepSeconds: hinted }).keepSeconds;
    const ephemeral = (ttl?: number | string) => ({ cache_control: { type: 'ephemeral', ttl } });
    expect(keep({})).to.equal(null);
    expect(keep({}, 300)).to.equal(300);
    expect(keep(ephemeral())).to.equal(300);
    expect(keep(ephemeral('1h'))).to.equal(3600);
    expect(keep(ephemeral('90s'))).to.equal(90);
    expect(keep(ephemeral('10m'))).to.equal(600);
    expect(keep(ephemeral(7))).to.equal(7);
    expect(keep(ephemeral(7), 60)).to.equal(60);
    expect(keep(ephemeral(86_400))).to.equal(3600);
    expect(keep({ ...ephemeral(), agent_hints: { total_requests: 6, iat: 2500 } })).to.equal(15);
    expect(keep({ agent_hints: { total_requests: 6, iat: 2500 } })).to.equal(null);
    expect(keep({ session_control: { session_id: 's', action: 'open' } })).to.equal(300);
    expect(keep({ session_control: { session_id: 's', action: 'open', timeout: 40 } })).to.equal(40);
    expect(keep({ session_control: { session_id: 's', action: 'bind', timeout: 40 } })).to.equal(null);
    const last = identityOf('stator', 's', '', true);
    expect(agentFactsOf({ nvext: { cache_control: { type: 'ephemeral' } } }, last).keepSeconds).to.equal(0);
  });

  it('refuses what cannot be honoured by name', () => {
    const nvext = { agent_hints: { speculative_prefill: true } };
    expect(agentFactsOf({ nvext, n: 1 }, agent).speculativePrefill).to.equal(true);
    expect(() => agentFactsOf({ nvext, n: 2 }, agent)).to.throw('`nvext.agent_hints.speculative_prefill`');
    expect(() => agentFactsOf({ nvext }, agent, { speculates: false })).to.throw('computes nothing in advance');
  });
});

describe('salts that keep KV apart', () => {
  it('are those of sessions where that is asked, and leave everybody else alone', () => {
    const own = isolatedSalt('tenant', 'subagent', subagent);
    expect(own).to.match(/^session:[\da-f]{64}$/);
    expect(isolatedSalt('tenant', 'subagent', subagent)).to.equal(own);
    expect(isolatedSalt('other', 'subagent', subagent)).not.to.equal(own);
    expect(isolatedSalt('tenant', 'subagent', identityOf('stator', 'd', 's', false))).not.to.equal(own);
    expect(isolatedSalt('tenant', 'subagent', agent)).to.equal('tenant');
    expect(isolatedSalt('tenant', 'session', agent)).to.match(/^session:/);
    for (const isolation of ['none', null] as const)
      expect(isolatedSalt('tenant', isolation, subagent)).to.equal('tenant');
    expect(() => isolatedSalt('tenant', 'session', null)).to.throw('needs a session');
  });
});
