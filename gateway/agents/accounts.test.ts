import { expect } from 'chai';
import { SessionAccounts } from './accounts.ts';
import { identityOf } from './identity.ts';
import { ToolClock } from './tool-clock.ts';

describe('accounts of sessions', () => {
  let nowMs = 0;
  let forgotten: string[] = [];
  const named = (id: string, parent = '') => identityOf('stator', id, parent, false);
  const open = (maxSessions = 3): SessionAccounts => {
    nowMs = 1000;
    forgotten = [];
    return new SessionAccounts({
      maxSessions,
      ttlMs: 100,
      nowMs: () => nowMs,
      onForgotten: (why) => forgotten.push(why),
    });
  };
  const idsOf = (accounts: SessionAccounts, tenant: string | null = null) =>
    accounts.list(tenant, 10).map(({ sessionId }) => sessionId);

  it('are one for each session of a tenant, and know its parent', () => {
    const accounts = open();
    const one = accounts.use('t', named('a'));
    one.requests++;
    expect(accounts.use('t', named('a', 'p'))).to.equal(one);
    expect(one).to.include({ parentSessionId: 'p', requests: 1 });
    expect(accounts.use('t', named('a'))).to.include({ parentSessionId: 'p' });
    expect(accounts.use('u', named('a'))).not.to.equal(one);
    expect(accounts.get('t', 'a')).to.equal(one);
    expect(accounts.get('t', 'b')).to.equal(undefined);
    expect(idsOf(accounts, 't')).to.deep.equal(['a']);
    expect(idsOf(accounts)).to.deep.equal(['a', 'a']);
  });

  it('are forgotten when they are idle, but not while a request runs', () => {
    const accounts = open();
    accounts.use('', named('idle'));
    const busy = accounts.use('', named('busy'));
    busy.running = 1;
    nowMs += 100;
    expect(idsOf(accounts)).to.deep.equal(['busy']);
    busy.running = 0;
    nowMs += 100;
    expect(accounts.size).to.equal(0);
    expect(forgotten).to.deep.equal(['expired', 'expired']);
  });

  it('are bounded: those unused for longest make room', () => {
    const accounts = open(2);
    for (const id of ['a', 'b', 'a', 'c']) accounts.use('', named(id));
    expect(idsOf(accounts)).to.deep.equal(['c', 'a']);
    expect(forgotten).to.deep.equal(['room']);
  });
});

describe('the clock of tools', () => {
  it('runs from an answer to the result, each call once', () => {
    let nowMs = 5;
    const clock = new ToolClock({ maxCalls: 10, ttlMs: 1000, nowMs: () => nowMs, onForgotten: () => {} });
    clock.start('s', 'call', 'read');
    nowMs = 25;
    expect(clock.end('other', 'call')).to.equal(null);
    expect(clock.end('s', 'call')).to.deep.equal({ callId: 'call', name: 'read', startedMs: 5, endedMs: 25 });
    expect(clock.end('s', 'call')).to.equal(null);
    clock.start('s', 'x'.repeat(257), 'read');
    expect(clock.open).to.equal(0);
  });

  it('forgets calls without a result', () => {
    let nowMs = 0;
    let forgotten = 0;
    const clock = new ToolClock({ maxCalls: 2, ttlMs: 100, nowMs: () => nowMs, onForgotten: () => forgotten++ });
    for (const id of ['a', 'b', 'c']) clock.start('s', id, 'tool');
    expect([clock.open, forgotten]).to.deep.equal([2, 1]);
    nowMs = 100;
    clock.start('s', 'd', 'tool');
    expect([clock.open, forgotten]).to.deep.equal([1, 3]);
  });
});
