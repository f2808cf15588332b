import { expect } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import { ModelCatalog } from '../models/catalog.ts';
import { testCard, workerInstance } from '../testing/harness.ts';
import { answering, ScriptedWorker } from '../testing/scripted-worker.ts';
import { until } from '../testing/until.ts';
import { WorkerPool } from './worker-pool.ts';

function setUp(): { pool: WorkerPool; catalog: ModelCatalog; sessions: ScriptedWorker[] } {
  const sessions: ScriptedWorker[] = [];
  const catalog = new ModelCatalog();
  const connector = {
    openSession: () => {
      const session = new ScriptedWorker(answering('x'));
      sessions.push(session);
      return session;
    },
    openClient: () => {
      throw new StatorError('unimplemented', 'no calls');
    },
  };
  return { pool: new WorkerPool(connector, catalog), catalog, sessions };
}

describe('WorkerPool', () => {
  const worker = workerInstance(1n, testCard());

  it('keeps a worker whose lease was lost while its session lives', async () => {
    const { pool, catalog, sessions } = setUp();
    pool.up(worker);
    pool.down(worker, 'expired');
    expect(catalog.ready()).to.have.length(1);
    const [session] = sessions;
    if (session !== undefined) session.state = 'reconnecting';
    await until(() => pool.size === 0);
    expect(catalog.ready()).to.have.length(0);
    expect(session?.state).to.equal('closed');
  });

  it('keeps the same session when the lease comes back', () => {
    const { pool, sessions } = setUp();
    pool.up(worker);
    pool.down(worker, 'stale');
    pool.up(worker);
    expect(sessions).to.have.length(1);
    expect(pool.isAlive(1n)).to.equal(true);
    pool.close();
  });

  it('gives a worker that withdrew nothing new, but lets it finish', async () => {
    const { pool, catalog, sessions } = setUp();
    pool.up(worker);
    const [session] = sessions;
    const running = { inFlight: 1 };
    Object.defineProperty(session, 'inFlight', { get: () => running.inFlight });
    pool.down(worker, 'withdrawn');
    expect(catalog.ready()).to.have.length(0);
    expect(session?.state).to.equal('ready');
    running.inFlight = 0;
    await until(() => session?.state === 'closed');
    expect(pool.size).to.equal(0);
  });

  it('opens another session to a worker at another address', () => {
    const { pool, sessions } = setUp();
    pool.up(worker);
    pool.up({ ...worker, address: 'elsewhere:2' });
    expect(sessions.map((session) => session.state)).to.deep.equal(['closed', 'ready']);
    pool.close();
    expect(sessions.map((session) => session.state)).to.deep.equal(['closed', 'closed']);
  });
});
