import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { runStator } from '#cli/stator.test-support.ts';
import type { ReplayReport } from '#sim/report/report.ts';
import { parseReportJson } from '#sim/report/report-json.ts';
import { type Cluster, startCluster } from '../support/cluster.ts';

const blockSize = 16;
const contextLength = 8192;
/** Passes of simulated engines take this much less time, so that the test is short. */
const speedup = 5;

/** How far apart hit rates may be: which worker gets the first prompts of a group depends on the moment. */
const hitRateBound = 0.05;

const load = [
  ...['--synthetic', 'plain', '--request-count', '240', '--input-tokens', '640', '--output-tokens', '16'],
  ...['--num-prefix-groups', '8', '--shared-prefix-ratio', '0.8', '--trace-block-size', '32', '--length-spread', '0.2'],
];
/** Four requests; each prompt is the one before, the answer to it and what a tool returned. */
const agent = {
  num_turns: 3,
  input_prompt_length: 700,
  assistant_response_length: [128, 96, 100],
  tool_call_output_length: [200, 256, 70],
  tool_call_latency: [0.05, 0.02, 0.01],
  final_assistant_response_length: 64,
};
const engine = [
  ...['--num-workers', '2', '--block-size', String(blockSize), '--context-length', String(contextLength)],
  ...['--speedup', String(speedup)],
];

describe('a replay in virtual and in real time', function () {
  this.timeout(180_000);
  let cluster: Cluster;

  // The caches of another test are not empty.
  beforeEach(async () => {
    const settings = { blockSize, contextLength, speedup, timing: 'polynomial', maxSequences: 256 };
    cluster = await startCluster({ workers: [0, 1].map(() => ({ engine: 'mocker', settings })) });
  });

  afterEach(() => cluster.stop());

  for (const [name, arrivals] of [
    ['an open loop', ['--arrival-interval-ms', '10']],
    ['a closed loop', ['--concurrency', '6']],
  ] as const) {
    it(`agrees on ${name}`, async () => {
      const args = ['replay', ...load, ...engine, ...arrivals, '--report-json', '-'];
      const [virtual, real] = [await reportOf(args), await reportOf([...args, '--online', cluster.url])];
      expect(real.run).to.include({ time: 'real', partial: false });
      expect(real.errors).to.deep.equal([]);
      expect(real.requests).to.deep.equal(virtual.requests);
      expect(real.requests).to.include({ sent: 240, completed: 240 });
      expect(real.cache.promptTokens).to.equal(virtual.cache.promptTokens);
      expect(real.outputTokens).to.deep.equal(virtual.outputTokens);
      expect(real.workers).to.have.length(2);
      expect(real.workers.reduce((sum, { requests }) => sum + requests, 0)).to.equal(240);
      expect(virtual.cache.tokenHitRate).to.be.greaterThan(0.5);
      expect(real.cache.tokenHitRate).to.be.closeTo(virtual.cache.tokenHitRate ?? 0, hitRateBound);
      expect(real.timeToFirstTokenMs.count).to.equal(240);
      expect(real.interTokenLatencyMs.avg).to.be.greaterThan(0);
    });
  }

  it('agrees on sessions of agents, whose prompts contain what was answered', async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'stator-agents-'));
    const trace = path.join(folder, 'agents.jsonl');
    await writeFile(trace, `${JSON.stringify(agent)}\n`.repeat(12));
    const format = ['--trace-format', 'applied_compute_agentic', '--concurrency', '4', '--report-json', '-'];
    const args = ['replay', trace, ...format, ...engine];
    const [virtual, real] = [await reportOf(args), await reportOf([...args, '--online', cluster.url])];
    await rm(folder, { recursive: true });
    expect(real.requests).to.include({ sent: 48, completed: 48 });
    expect(real.cache.promptTokens).to.equal(virtual.cache.promptTokens);
    // Prompts are what came before and, but for tools, nothing else: only a session's first prompt is new everywhere.
    expect(virtual.cache.tokenHitRate).to.be.greaterThan(0.65);
    expect(real.cache.tokenHitRate).to.be.closeTo(virtual.cache.tokenHitRate ?? 0, hitRateBound);
  });
});

async function reportOf(args: readonly string[]): Promise<ReplayReport> {
  const { code, stdout, stderr } = await runStator(args);
  expect(code, stderr).to.equal(0);
  return parseReportJson(stdout, 'report');
}
