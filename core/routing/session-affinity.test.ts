import { expect } from 'chai';
import fc from 'fast-check';
import { type AffinityOptions, affinityModes, SessionAffinity, sessionIdProblem } from './session-affinity.ts';

const one = { instanceId: 1n, dataParallelRank: 0 };
const two = { instanceId: 2n, dataParallelRank: 1 };
const three = { instanceId: 3n, dataParallelRank: 0 };
const anyone = (): null => null;
const known = (): boolean => true;

function affinity(extra: Partial<AffinityOptions> = {}): SessionAffinity {
  return new SessionAffinity({ mode: 'hard', ttlMs: 1000, maxSessions: 100, replica: 1n, ...extra });
}

describe('SessionAffinity', () => {
  it('binds a session to where its first request was dispatched, in its scope', () => {
    const sessions = affinity();
    expect(sessions.answer('m', 's', 0, anyone)).to.deep.equal({ kind: 'free' });
    sessions.use('m', 's', two, 0).end(10);
    expect(sessions.answer('m', 's', 20, anyone)).to.deep.equal({ kind: 'bound', target: two });
    expect(sessions.answer('other', 's', 20, anyone)).to.deep.equal({ kind: 'free' });
  });

  it('refuses in hard mode what the bound worker cannot serve, and moves in soft mode', () => {
    for (const mode of affinityModes) {
      const sessions = affinity({ mode });
      sessions.use('m', 's', one, 0).end(1);
      const answer = sessions.answer('m', 's', 2, (target) => (target === one ? 'it is draining' : null));
      if (mode === 'hard') {
        expect(answer).to.deep.equal({ kind: 'refused', target: one, reason: 'it is draining' });
      } else {
        expect(answer).to.deep.equal({ kind: 'free' });
        sessions.use('m', 's', two, 3).end(4);
        expect(sessions.answer('m', 's', 5, anyone)).to.deep.equal({ kind: 'bound', target: two });
        expect(sessions.dropWorker(1n)).to.equal(0);
      }
    }
  });

  it('forgets a session after its idle time, which a running request stops', () => {
    const sessions = affinity();
    const use = sessions.use('m', 's', one, 0);
    expect(sessions.answer('m', 's', 50_000, anyone).kind).to.equal('bound');
    use.end(50_000);
    use.end(90_000);
    expect(sessions.answer('m', 's', 50_999, anyone).kind).to.equal('bound');
    expect(sessions.answer('m', 's', 51_000, anyone).kind).to.equal('free');
    expect(sessions.stats).to.deep.equal({ sessions: 0, evicted: 0, expired: 1 });
  });

  it('drops the session whose request its worker failed, and every session of a worker that is gone', () => {
    const sessions = affinity();
    for (const id of ['a', 'b', 'c']) sessions.use('m', id, one, 0).end(0);
    sessions.use('m', 'd', two, 0).end(0);
    expect(sessions.drop('m', 'a', two)).to.equal(false);
    expect(sessions.drop('m', 'a', one)).to.equal(true);
    expect(sessions.dropWorker(1n)).to.equal(2);
    expect([...sessions.entries(1)].map(({ sessionId }) => sessionId)).to.deep.equal(['d']);
  });

  it('does not let a request of a dropped binding end the use of its successor', () => {
    const sessions = affinity();
    const old = sessions.use('m', 's', one, 0);
    sessions.dropWorker(1n);
    sessions.use('m', 's', two, 10);
    old.end(20);
    expect(sessions.answer('m', 's', 99_000, anyone).kind).to.equal('bound');
  });

  it('makes room by the session that was unused for longest, a running one last', () => {
    const sessions = affinity({ maxSessions: 2 });
    sessions.use('m', 'running', one, 0);
    sessions.use('m', 'idle', one, 5).end(6);
    sessions.use('m', 'new', one, 7);
    expect(sessions.answer('m', 'idle', 8, anyone).kind).to.equal('free');
    expect(sessions.answer('m', 'running', 8, anyone).kind).to.equal('bound');
    sessions.use('m', 'newer', one, 9);
    expect(sessions.answer('m', 'running', 9, anyone).kind).to.equal('free');
    expect(sessions.stats).to.deep.equal({ sessions: 2, evicted: 2, expired: 0 });
  });

  it('takes over from a replica what was used later there', () => {
    const here = affinity({ replica: 1n });
    const there = affinity({ replica: 2n });
    here.use('m', 's', one, 0).end(0);
    expect(there.merge(here.entries(100), 5000, known)).to.equal(1);
    expect(there.answer('m', 's', 5899, anyone)).to.deep.equal({ kind: 'bound', target: one });
    there.dropWorker(1n);
    there.use('m', 's', two, 5900);
    expect(here.merge(there.entries(5900), 200, known)).to.equal(1);
    expect(here.answer('m', 's', 200, anyone)).to.deep.equal({ kind: 'bound', target: two });
    expect(here.merge(there.entries(5900), 200, known)).to.equal(0);
  });

  it('passes over what it must not take from a replica', () => {
    const here = affinity();
    const entry = { scope: 'm', sessionId: 's', ...one, sequence: 1, replica: 2n, idleMs: 0 };
    const bad = [
      { ...entry, idleMs: 1000 },
      { ...entry, sessionId: 'x'.repeat(257) },
      { ...entry, sequence: Number.NaN },
      { ...entry, instanceId: 7n },
    ];
    expect(here.merge(bad, 0, (instanceId) => instanceId !== 7n)).to.equal(0);
    expect(here.stats.sessions).to.equal(0);
  });

  it('tells replicas only what is new', () => {
    const sessions = affinity();
    sessions.use('m', 'a', one, 0).end(0);
    const seen = Math.max(...[...sessions.entries(0)].map(({ sequence }) => sequence));
    sessions.use('m', 'b', one, 0);
    expect([...sessions.entries(0, seen)].map(({ sessionId }) => sessionId)).to.deep.equal(['b']);
  });

  it('converges on all replicas once all have heard of all, whatever was lost before', () => {
    const step = fc.oneof(
      fc.record({
        replica: fc.nat(2),
        session: fc.constantFrom('a', 'b', 'c'),
        target: fc.constantFrom(one, two, three),
      }),
      fc.record({ from: fc.nat(2), to: fc.nat(2) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const replicas = [1n, 2n, 3n].map((replica) => affinity({ replica, ttlMs: 1e9 }));
        const exchange = (from: number, to: number): void => {
          replicas[to]?.merge([...(replicas[from]?.entries(1) ?? [])], 1, known);
        };
        for (const action of steps) {
          if ('session' in action) replicas[action.replica]?.use('m', action.session, action.target, 1).end(1);
          else exchange(action.from, action.to);
        }
        for (const from of [0, 1, 2]) for (const to of [0, 1, 2]) exchange(from, to);
        for (const from of [0, 1, 2]) for (const to of [0, 1, 2]) exchange(from, to);
        const views = replicas.map((sessions) => ['a', 'b', 'c'].map((id) => sessions.answer('m', id, 1, anyone)));
        expect(views[1]).to.deep.equal(views[0]);
        expect(views[2]).to.deep.equal(views[0]);
      }),
      { numRuns: 300 },
    );
  });

  it('keeps exactly the sessions that a plain list would, under any uses, ends, losses and times', () => {
    const action = fc.oneof(
      { weight: 5, arbitrary: fc.record({ use: fc.nat(9), target: fc.constantFrom(one, two, three) }) },
      { weight: 4, arbitrary: fc.record({ end: fc.nat() }) },
      { weight: 1, arbitrary: fc.record({ lose: fc.constantFrom(1n, 2n, 3n) }) },
      { weight: 2, arbitrary: fc.record({ wait: fc.integer({ min: 0, max: 700 }) }) },
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 150 }), (actions) => {
        const sessions = affinity({ mode: 'soft', maxSessions: 100 });
        const twin = new Map<number, { target: typeof one; running: number; lastMs: number }>();
        const uses: { end(): void }[] = [];
        let nowMs = 0;
        for (const step of actions) {
          for (const [id, { running, lastMs }] of twin) if (running === 0 && lastMs + 1000 <= nowMs) twin.delete(id);
          if ('use' in step) {
            const use = sessions.use('m', `${step.use}`, step.target, nowMs);
            const bound = twin.get(step.use) ?? { target: step.target, running: 0, lastMs: nowMs };
            twin.set(
              step.use,
              Object.assign(bound, { target: step.target, running: bound.running + 1, lastMs: nowMs }),
            );
            uses.push({
              end: () => {
                use.end(nowMs);
                Object.assign(bound, { running: bound.running - 1, lastMs: nowMs });
              },
            });
          } else if ('end' in step) {
            uses.splice(step.end % Math.max(1, uses.length), 1)[0]?.end();
          } else if ('lose' in step) {
            sessions.dropWorker(step.lose);
            for (const [id, { target }] of twin) if (target.instanceId === step.lose) twin.delete(id);
          } else nowMs += step.wait;
          for (const [id, { running, lastMs }] of twin) if (running === 0 && lastMs + 1000 <= nowMs) twin.delete(id);
          sessions.expire(nowMs);
          expect(sessions.stats.sessions).to.equal(twin.size);
          for (const [id, { target }] of twin)
            expect(sessions.answer('m', `${id}`, nowMs, anyone)).to.deep.equal({ kind: 'bound', target });
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('sessionIdProblem', () => {
  it('bounds an identifier by its bytes', () => {
    expect(sessionIdProblem('x'.repeat(256))).to.equal(null);
    expect(sessionIdProblem('é'.repeat(128))).to.equal(null);
    expect(sessionIdProblem('é'.repeat(129))).to.equal('a session identifier has at most 256 bytes, this one has 258');
    expect(sessionIdProblem('')).to.contain('must not be empty');
  });
});
