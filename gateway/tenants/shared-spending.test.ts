import { expect } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import { openStore } from '#lib/store/open.ts';
import type { Store } from '#lib/store/store.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { until } from '../testing/until.ts';
import { anybody, type Caller } from './caller.ts';
import { SharedLimits } from './shared-limits.ts';

const caller: Caller = { ...anybody, id: 'a', tenant: 'a', tokensPerMonth: 1000 };

describe('work that nobody waits for, within limits that gateways share', () => {
  let store: Store;
  let isDown = false;
  const opened: SharedLimits[] = [];

  beforeEach(async () => {
    isDown = false;
    store = await openStore('memory:', { telemetry: quietTelemetry(), maxBytes: 2 ** 30 });
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((limits) => limits.close()));
    await store.close();
  });

  function gateway(): SharedLimits {
    const failing = <T extends unknown[], R>(call: (...args: T) => Promise<R>) => {
      return (...args: T): Promise<R> =>
        isDown ? Promise.reject(new StatorError('storage_unavailable', 'down')) : call(...args);
    };
    const faulty = { ...storeCalls(store), get: failing(store.get.bind(store)), put: failing(store.put.bind(store)) };
    const times = { syncMs: 20, retryMs: 20, leaseMs: 10_000 };
    const limits = new SharedLimits({ store: faulty, telemetry: quietTelemetry(), withoutStore: 'local', ...times });
    opened.push(limits);
    return limits;
  }

  async function fits(limits: SharedLimits, tokens: number): Promise<boolean> {
    try {
      await limits.spend(caller, tokens);
      return true;
    } catch (thrown) {
      expect(StatorError.from(thrown).code).to.equal('rate_limited');
      return false;
    }
  }

  const hasLeft = (limits: SharedLimits, tokens: number): Promise<unknown> =>
    until(async () => (await fits(limits, tokens)) && !(await fits(limits, tokens + 1)));

  it('takes what is left, all of it or nothing, and the others hear of it', async () => {
    const [one, two] = [gateway(), gateway()];
    await hasLeft(one, 1000);
    for (const limits of [one, two]) (await limits.enter(caller)).leave(100);
    for (const limits of [one, two]) await hasLeft(limits, 800);
    (await one.spend(caller, 800))(700);
    for (const limits of [one, two]) await hasLeft(limits, 100);
    (await one.spend(anybody, Number.MAX_SAFE_INTEGER))(1);
  });

  it('takes nothing while the store is away', async () => {
    const limits = gateway();
    await hasLeft(limits, 1000);
    isDown = true;
    await until(async () => !(await fits(limits, 1)));
    isDown = false;
    await hasLeft(limits, 1000);
  });
});

function storeCalls(store: Store): Store {
  return {
    get: store.get.bind(store),
    put: store.put.bind(store),
    delete: store.delete.bind(store),
    deletePrefix: store.deletePrefix.bind(store),
    list: store.list.bind(store),
    count: store.count.bind(store),
    close: async () => {},
  };
}
