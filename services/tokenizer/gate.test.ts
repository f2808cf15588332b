import { expect } from 'chai';
import { Gate } from './gate.ts';

const forever = new AbortController().signal;

describe('Gate', () => {
  it('runs no more at once than it may, in the order they came', async () => {
    const gate = new Gate({ maxRunning: 2, maxWaiting: 10 });
    const started: number[] = [];
    const ends = Array.from({ length: 5 }, () => Promise.withResolvers<void>());
    const runs = ends.map((end, i) =>
      gate.run(forever, () => {
        started.push(i);
        return end.promise;
      }),
    );
    for (const [i, end] of ends.entries()) {
      expect(started).to.deep.equal([0, 1, 2, 3, 4].slice(0, Math.min(i + 2, 5)));
      expect(gate.running).to.be.at.most(2);
      end.resolve();
      await runs[i];
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect([gate.running, gate.waiting]).to.deep.equal([0, 0]);
  });

  it('refuses what would wait beyond its bound', async () => {
    const gate = new Gate({ maxRunning: 1, maxWaiting: 0 });
    const first = Promise.withResolvers<void>();
    const running = gate.run(forever, () => first.promise);
    const refused = await gate.run(forever, async () => {}).catch((error: unknown) => error);
    expect(refused).to.have.property('code', 'overloaded');
    first.resolve();
    await running;
    expect(await gate.run(forever, async () => 'ran')).to.equal('ran');
  });

  it('forgets a caller that left, and keeps its place for others', async () => {
    const gate = new Gate({ maxRunning: 1, maxWaiting: 5 });
    const first = Promise.withResolvers<void>();
    const running = gate.run(forever, () => first.promise);
    const leaving = new AbortController();
    const left = gate.run(leaving.signal, async () => 'never').catch((error: unknown) => error);
    const staying = gate.run(forever, async () => 'ran');
    leaving.abort(new Error('gone'));
    expect(await left).to.have.property('message', 'gone');
    expect(gate.waiting).to.equal(1);
    first.resolve();
    await running;
    expect(await staying).to.equal('ran');
    expect(gate.running).to.equal(0);
  });

  it('frees its place when a task fails', async () => {
    const gate = new Gate({ maxRunning: 1, maxWaiting: 0 });
    await gate.run(forever, () => Promise.reject(new Error('x'))).catch(() => {});
    expect(gate.running).to.equal(0);
  });
});
