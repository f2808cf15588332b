import { expect } from 'chai';
import { pino } from 'pino';
import { StatorError } from '#lib/errors/errors.ts';
import { openStore } from '#lib/store/open.ts';
import type { PutOptions, Store } from '#lib/store/store.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { SessionAccounts } from './accounts.ts';
import { identityOf } from './identity.ts';
import { digestOfSession } from './redact.ts';
import { SharedSessions, type SharedSessionsOptions } from './shared-sessions.ts';

type Fault = 'none' | 'away' | 'answer lost' | 'heard late';

/** A store whose writes fail in the ways that writes do. */
class FaultyStore {
  fault: Fault = 'none';
  puts = 0;
  readonly late: (() => Promise<unknown>)[] = [];
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  get store(): Store {
    const store = this.#store;
    const check = (): void => {
      if (this.fault === 'away') throw new StatorError('storage_unavailable', 'away');
    };
    return {
      get: async (collection, key) => {
        check();
        return store.get(collection, key);
      },
      list: async (collection, options) => {
        check();
        return store.list(collection, options);
      },
      put: async (collection: string, key: string, value: Uint8Array, options?: PutOptions) => {
        check();
        this.puts += 1;
        const put = (): Promise<number> => store.put(collection, key, value, options);
        if (this.fault === 'heard late') this.late.push(put);
        if (this.fault === 'answer lost') await put();
        if (this.fault !== 'none') throw new StatorError('storage_unavailable', 'no answer');
        return put();
      },
      delete: (collection, key, options) => store.delete(collection, key, options),
      deletePrefix: (collection, prefix) => store.deletePrefix(collection, prefix),
      count: (counter, amount, options) => store.count(counter, amount, options),
      close: async () => {},
    };
  }
}

interface Gateway {
  readonly faulty: FaultyStore;
  readonly accounts: SessionAccounts;
  readonly sessions: SharedSessions;
  /** A request of a session begins, and ends with so many tokens where a number is given. */
  request(tenant: string, id: string, tokens: number | null): void;
  end(tenant: string, id: string): void;
}

describe('accounts of sessions that gateways share', () => {
  let nowMs = 1_800_000_000_000;
  let store: Store;
  const open: SharedSessions[] = [];
  const lost: string[] = [];

  beforeEach(async () => {
    store = await openStore('memory:', { telemetry: quietTelemetry(), maxBytes: 1024 ** 3, now: () => nowMs });
    lost.length = 0;
  });
  afterEach(async () => {
    for (const sessions of open.splice(0)) await sessions.close();
    await store.close();
  });

  function gatewayOf(more: Partial<SharedSessionsOptions> = {}): Gateway {
    const faulty = new FaultyStore(store);
    const maxSessions = more.maxSessions ?? 1000;
    const accounts = new SessionAccounts({ maxSessions, ttlMs: 60_000, nowMs: () => nowMs, onForgotten: () => {} });
    const sessions = new SharedSessions({
      ...{ store: faulty.store, naming: digestOfSession, maxSessions, ttlMs: 60_000, syncMs: 3_600_000 },
      ...{ nowMs: () => nowMs, log: pino({ level: 'silent' }), onExchange: () => {}, onLost: () => lost.push('one') },
      ...more,
    });
    open.push(sessions);
    const use = (tenant: string, id: string) => accounts.use(tenant, identityOf('stator', id, 'parent', false));
    const end = (tenant: string, id: string): void => {
      const account = use(tenant, id);
      account.running -= 1;
      sessions.note(account);
    };
    const request = (tenant: string, id: string, tokens: number | null): void => {
      const account = use(tenant, id);
      account.requests += 1;
      account.running += 1;
      sessions.note(account);
      account.promptTokens += tokens ?? 0;
      if (tokens !== null) end(tenant, id);
    };
    return { faulty, accounts, sessions, request, end };
  }

  async function used(gateway: Gateway, id = 's'): Promise<unknown> {
    const found = await gateway.sessions.get('t', id);
    return found === null ? null : [found.counts.requests, found.counts.promptTokens, found.running];
  }

  it('add up, at every gateway, once they were told', async () => {
    const [a, b] = [gatewayOf(), gatewayOf()];
    a.request('t', 's', 10);
    expect(await used(a), 'what was not told yet').to.deep.equal([1, 10, 0]);
    expect(await used(b)).to.equal(null);
    await a.sessions.sync();
    expect([await used(a), await used(b)]).to.deep.equal([
      [1, 10, 0],
      [1, 10, 0],
    ]);
    nowMs += 5;
    b.request('t', 's', 5);
    a.request('t', 's', null);
    for (const one of [b, a, b]) await one.sessions.sync();
    expect([await used(a), await used(b)]).to.deep.equal([
      [3, 15, 1],
      [3, 15, 1],
    ]);
    a.end('t', 's');
    await a.sessions.sync();
    const found = await b.sessions.get('t', 's');
    expect(found).to.deep.include({ running: 0, name: digestOfSession('s'), parentName: digestOfSession('parent') });
    expect(found?.firstUnixMs).to.equal(nowMs - 5);
    expect(await b.sessions.get('u', 's')).to.equal(null);
    expect((await b.sessions.list('t', 10)).data).to.deep.equal([found]);
    expect(await b.sessions.list('u', 10)).to.deep.equal({ data: [], sessions: 0 });
  });

  it('are written by the interval, not by the request, and without what sessions are called', async () => {
    const a = gatewayOf();
    for (let round = 0; round < 500; round++) a.request('t', `secret-${round % 200}`, 1);
    expect(a.faulty.puts).to.equal(0);
    await a.sessions.sync();
    expect(a.faulty.puts).to.be.at.least(1).and.at.most(64);
    const before = a.faulty.puts;
    await a.sessions.sync();
    expect(a.faulty.puts, 'nothing new').to.equal(before);
    const documents = await store.list('agent-sessions', { limit: 100 });
    const text = documents.map(({ value }) => Buffer.from(value).toString()).join();
    expect(text).to.contain(digestOfSession('secret-1')).and.not.to.contain('secret');
    const { data, sessions } = await gatewayOf().sessions.list('t', 3);
    expect([data.length, sessions]).to.deep.equal([3, 200]);
  });

  for (const fault of ['away', 'answer lost', 'heard late'] as const) {
    it(`count once where the store is ${fault}`, async () => {
      const [a, b] = [gatewayOf(), gatewayOf()];
      a.request('t', 's', 1);
      await a.sessions.sync();
      a.faulty.fault = fault;
      a.request('t', 's', 2);
      await a.sessions.sync();
      a.request('t', 's', 4);
      await a.sessions.sync();
      expect(await used(a), 'meanwhile').to.deep.equal([3, 7, 0]);
      for (const put of a.faulty.late.splice(0)) await put().catch(() => {});
      b.request('t', 's', 8);
      await b.sessions.sync();
      a.faulty.fault = 'none';
      await a.sessions.sync();
      await a.sessions.sync();
      expect([await used(a), await used(b)]).to.deep.equal([
        [4, 15, 0],
        [4, 15, 0],
      ]);
    });
  }

  it('survive the gateway that counted, but not what ran there', async () => {
    const [a, b] = [gatewayOf(), gatewayOf()];
    a.request('t', 's', null);
    await a.sessions.sync();
    expect(await used(b)).to.deep.equal([1, 0, 1]);
    nowMs += 31_000;
    expect(await used(b)).to.deep.equal([1, 0, 0]);
    const heir = gatewayOf();
    heir.request('t', 's', 3);
    await heir.sessions.sync();
    expect(await used(b)).to.deep.equal([2, 3, 0]);
  });

  it('are forgotten when no gateway uses them', async () => {
    const [a, b] = [gatewayOf(), gatewayOf()];
    a.request('t', 's', 1);
    await a.sessions.sync();
    nowMs += 59_000;
    b.request('t', 's', 1);
    await b.sessions.sync();
    nowMs += 59_000;
    expect(await used(a)).to.deep.equal([2, 2, 0]);
    nowMs += 1000;
    expect([await used(a), await used(b)]).to.deep.equal([null, null]);
  });

  it('are bounded, in the store and while it is away', async () => {
    const a = gatewayOf({ maxSessions: 64 });
    for (let index = 0; index < 2000; index++) a.request('t', `s${index}`, 1);
    await a.sessions.sync();
    const { sessions } = await a.sessions.list('t', 1);
    // Of each of 64 documents.
    expect(sessions).to.be.at.most(64 * 10);
    a.faulty.fault = 'away';
    for (let index = 0; index < 4000; index++) a.request('t', `later${index}`, 1);
    await a.sessions.sync();
    expect(lost.length).to.be.above(0);
    a.faulty.fault = 'none';
  });
});
