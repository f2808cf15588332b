import { expect } from 'chai';
import { defaultSettings, defineSettings, setting } from '#lib/config/settings.ts';
import { routerSettings } from '#services/router/config.ts';
import { routerConfigOf, workersOf } from './deployment.ts';
import { toldSettings } from './run-once.ts';
import { replaySettings } from './settings.ts';
import { workloadOf } from './workload.ts';

describe('the simulated deployment', () => {
  it('is what the settings say', async () => {
    const settings = defaultSettings(replaySettings, {
      numWorkers: 3,
      startupMs: 100,
      staggerMs: 50,
      dataParallelSize: 2,
      kvBlocks: 77,
    });
    const workers = await workersOf(settings);
    expect(workers.map(({ readyAfterMs }) => readyAfterMs)).to.deep.equal([100, 150, 200]);
    expect(workers[0]).to.include({ role: 'aggregated', ranks: 2 });
    expect(workers[0]?.engine).to.include({
      kind: 'vllm',
      blockSize: 64,
      totalBlocks: 77,
      maxSequences: 256,
      contextLength: 131_072,
    });
    expect(workers[0]?.timing?.prefillMs(0, 1)).to.equal(16.50142);
  });

  it('starts the stages one after the other, each with settings of its own', async () => {
    const settings = defaultSettings(replaySettings, {
      ...{ numPrefillWorkers: 1, numDecodeWorkers: 2, staggerMs: 10 },
      prefillEngineArgs: '{"maxBatchedTokens":16384,"acceptRates":[0.5,0.25]}',
    });
    const workers = await workersOf(settings);
    expect(workers.map(({ role, readyAfterMs }) => [role, readyAfterMs])).to.deep.equal([
      ['prefill', 0],
      ['decode', 10],
      ['decode', 20],
    ]);
    expect(workers.map(({ engine }) => engine.maxBatchedTokens)).to.deep.equal([16_384, 8192, 8192]);
    expect(workers[0]?.engine.acceptRates).to.deep.equal([0.5, 0.25]);
  });

  for (const [args, message] of [
    ['{"maxBatchedTokns":1}', 'an engine has no setting "maxBatchedTokns". Did you mean maxBatchedTokens?'],
    ['{"kvBlocks":0}', 'kvBlocks (--kv-blocks): 0 is not a whole number of at least 2'],
    ['[]', 'is not a JSON object'],
    ['{', 'is not JSON'],
  ] as const) {
    it(`refuses ${args} for a stage`, async () => {
      const settings = defaultSettings(replaySettings, {
        numPrefillWorkers: 1,
        numDecodeWorkers: 1,
        decodeEngineArgs: args,
      });
      const error = await workersOf(settings).then(String, String);
      expect(error).to.include(`--decode-engine-args`).and.include(message);
    });
  }

  it('has a router with the settings of a router', () => {
    const config = routerConfigOf(
      defaultSettings(replaySettings, { routerMode: 'random', overlapCredit: 3, queueThreshold: 5 }),
    );
    expect(config).to.include({ mode: 'random', overlapCredit: 3, queueThreshold: 5 });
    expect(Object.keys(config).sort()).to.deep.equal(Object.keys(routerSettings).sort());
  });
});

describe('generated load', () => {
  it('is another for another seed and the same for the same', async () => {
    const arrivals = async (seed: number): Promise<(number | undefined)[]> => {
      const workload = await workloadOf(
        [],
        defaultSettings(replaySettings, { synthetic: 'plain', requestCount: 20, seed }),
      );
      const found: (number | undefined)[] = [];
      for await (const { arrivalMs } of workload.open()) found.push(arrivalMs);
      return found;
    };
    expect(await arrivals(1)).to.deep.equal(await arrivals(1));
    expect(await arrivals(1)).to.not.deep.equal(await arrivals(2));
  });
});

describe('toldSettings', () => {
  it('tells what is not the default, and no secret', () => {
    const table = defineSettings({
      key: setting.optionalString({ secret: true, help: '' }),
      count: setting.integer({ default: 1, help: '' }),
      list: setting.list({ default: [], help: '' }),
      file: setting.optionalString({ help: '' }),
      same: setting.boolean({ default: true, help: '' }),
    });
    const settings = { key: 'hunter2', count: 2, list: ['a', 'b'], file: 'x', same: true };
    expect(toldSettings(table, settings, new Set(['file']))).to.deep.equal({ count: 2, list: 'a,b' });
  });
});
