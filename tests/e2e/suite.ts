import { type Cluster, type ClusterOptions, startCluster } from '../support/cluster.ts';
import { skip } from '../support/skip.ts';
import { grpcClientCases } from './cases/grpc-clients.ts';
import { metricsCases } from './cases/metrics.ts';
import { openaiNodeCases } from './cases/openai-node.ts';
import { openaiPythonCases } from './cases/openai-python.ts';

/** What a model under test needs: its worker, or why there is none on this machine. */
export interface Subject {
  readonly name: string;
  readonly options: () => Promise<ClusterOptions | { readonly unavailable: string }>;
}

/** The end-to-end suite; every form of deployment runs the same one. */
export function endToEndSuite({ name, options }: Subject): void {
  describe(name, function () {
    this.timeout(60_000);
    let cluster: Cluster | undefined;
    let model = '';

    before(async function () {
      this.timeout(120_000);
      const wanted = await options();
      if ('unavailable' in wanted) skip(this, wanted.unavailable);
      cluster = await startCluster(wanted);
      model = (await cluster.listsModels(1))[0] ?? '';
    });

    after(() => cluster?.stop());

    const stack = () => {
      if (cluster === undefined) throw new Error('the cluster is not running');
      const worker = cluster.members.find(({ role }) => role === 'mocker' || role === 'llamacpp');
      return { cluster, model, worker: worker?.address ?? '' };
    };
    describe('official openai package for Node', () => openaiNodeCases(stack));
    describe('official openai package for Python', () => openaiPythonCases(stack));
    describe('gRPC clients made from the contracts', () => grpcClientCases(stack));
    describe('metrics', () => metricsCases(stack));
  });
}
