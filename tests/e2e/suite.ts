import { type Cluster, type ClusterOptions, type EngineName, startCluster } from '../support/cluster.ts';
import { findDefaultModel } from '../support/model.ts';
import { skip } from '../support/skip.ts';
import { embeddingCases } from './cases/embeddings.ts';
import { equalityCases } from './cases/equality.ts';
import { furtherApiCases } from './cases/further-apis.ts';
import { grpcClientCases } from './cases/grpc-clients.ts';
import { metricsCases } from './cases/metrics.ts';
import { openaiNodeCases } from './cases/openai-node.ts';
import { openaiPythonCases } from './cases/openai-python.ts';
import type { GetStack } from './cases/stack.ts';
import { toolCases } from './cases/tools.ts';

/** Name under which the default model is served in tests. */
const REAL_MODEL = 'default-model';
const SYNTHETIC_MODEL = 'synthetic';

/** How the services of a run are deployed; undefined and a reason where this machine cannot. */
export interface Deployment {
  readonly name: string;
  readonly options: Omit<ClusterOptions, 'workers'>;
  unavailable?(): Promise<string | undefined>;
}

/** The end-to-end suite, with a synthetic and, where the default model is there, a real worker. Every deployment runs the same. */
export function endToEndSuite({ name, options, unavailable }: Deployment): void {
  describe(name, function () {
    this.timeout(300_000);
    let cluster: Cluster | undefined;
    let model: string | undefined;

    before(async function () {
      this.timeout(300_000);
      const reason = await unavailable?.();
      if (reason !== undefined) skip(this, reason);
      model = await findDefaultModel();
      const synthetic = { engine: 'mocker', settings: { model: SYNTHETIC_MODEL, stepMs: 2 } } as const;
      const real = {
        engine: 'llamacpp',
        settings: { model: [model ?? ''], modelName: [REAL_MODEL], threads: 1, flashAttention: 'off' },
      } as const;
      cluster = await startCluster({ ...options, workers: model === undefined ? [synthetic] : [synthetic, real] });
      await cluster.listsModels(model === undefined ? 1 : 2);
    });

    after(() => cluster?.stop());

    const stackOf = (engine: EngineName, served: string): GetStack => {
      return () => {
        if (cluster === undefined) throw new Error('the cluster is not running');
        return { cluster, engine, model: served, worker: cluster.member(engine).address, modelFile: model ?? '' };
      };
    };

    describe('with the synthetic engine', () => engineCases(stackOf('mocker', SYNTHETIC_MODEL)));
    describe('with llama.cpp', () => {
      before(function () {
        if (model === undefined) skip(this, 'the default model could not be fetched');
      });
      engineCases(stackOf('llamacpp', REAL_MODEL));
      describe('tools and structured output', () => toolCases(stackOf('llamacpp', REAL_MODEL)));
    });
    describe('metrics', () => metricsCases(stackOf('mocker', SYNTHETIC_MODEL)));
    describe('embeddings', () => embeddingCases(stackOf('mocker', SYNTHETIC_MODEL)));
  });
}

function engineCases(stack: GetStack): void {
  describe('official openai package for Node', () => openaiNodeCases(stack));
  describe('official openai package for Python', () => openaiPythonCases(stack));
  describe('gRPC clients made from the contracts', () => grpcClientCases(stack));
  describe('the same answer by other APIs', () => furtherApiCases(stack));
  describe('equality', () => equalityCases(stack));
}
