import { expect } from 'chai';
import { type Cluster, startCluster } from '../../support/cluster.ts';
import { findDefaultModel } from '../../support/model.ts';
import { skip } from '../../support/skip.ts';
import { runNodeClient } from '../support/run-client.ts';

interface Plan {
  readonly city: string;
  readonly days: number;
}

interface Found {
  readonly aiSdk: {
    readonly cities: readonly string[];
    readonly objects: readonly Plan[];
    readonly finish: string;
    readonly same: boolean;
  };
  readonly agents: { readonly asked: readonly string[]; readonly answered: readonly boolean[] };
  readonly langchain: {
    readonly object: Plan;
    readonly cities: readonly string[];
    readonly messages: number;
    readonly dimensions: readonly number[];
  };
}

const cities = ['Paris', 'Rome', 'Oslo'];

function expectPlan({ city, days }: Plan): void {
  expect(city).to.be.oneOf(cities);
  expect(days).to.be.within(1, 7);
}

describe('frameworks for Node with real engines', function () {
  this.timeout(180_000);
  const model = 'default-model';
  let cluster: Cluster | undefined;
  let found: Found;

  before(async function () {
    const file = await findDefaultModel();
    if (file === undefined) skip(this, 'the default model could not be fetched');
    const real = { engine: 'llamacpp', settings: { model: [file], modelName: [model], threads: 1 } } as const;
    const embedder = { engine: 'mocker', settings: { model: 'synthetic', embeddingDimensions: 8 } } as const;
    cluster = await startCluster({ discovery: 'memory', workers: [real, embedder] });
    await cluster.listsModels(2);
    found = await runNodeClient('real-engine.fixture.ts', [`${cluster.url}/v1`, model, 'synthetic']);
  });
  after(() => cluster?.stop());

  it('calls strict tools and keeps to types by the Vercel AI SDK', () => {
    expect(found.aiSdk.cities).to.have.length.of.at.least(3);
    for (const city of found.aiSdk.cities) expect(city).to.be.oneOf(cities);
    expect(found.aiSdk.objects).to.have.length(3);
    for (const plan of found.aiSdk.objects) expectPlan(plan);
    expect(found.aiSdk.finish).to.be.oneOf(['stop', 'length', 'tool-calls']);
  });

  it('embeds by the Vercel AI SDK and LangChain', () => {
    expect(found.aiSdk.same).to.equal(true);
    expect(found.langchain.dimensions).to.deep.equal([8, 8, 8]);
  });

  it('runs agents whose first turn must call a strict tool', () => {
    expect(found.agents.asked).to.have.length.of.at.least(2);
    for (const city of found.agents.asked) expect(city).to.be.oneOf(cities);
    expect(found.agents.answered).to.deep.equal([true, true]);
  });

  it('structures output, calls and runs graphs by LangChain', () => {
    expectPlan(found.langchain.object);
    expect(found.langchain.cities).to.have.length(1);
    expect(found.langchain.cities[0]).to.be.oneOf(cities);
    expect(found.langchain.messages).to.be.greaterThan(1);
  });
});
