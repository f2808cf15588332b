import { readFile } from 'node:fs/promises';
import { expect } from 'chai';
import { isDefect, type ProbeResult, parseSnapshot } from '#cli/probe/snapshot.ts';
import { runStator } from '#cli/stator.test-support.ts';
import { inProject } from '../../scripts/support/project.ts';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { findDefaultModel } from '../support/model.ts';
import { skip } from '../support/skip.ts';

/** Made by `stator probe --url … --model smollm2 --max-tokens 96 --output docs/probe-snapshot.json` over this cluster. */
const snapshotFile = inProject('docs/probe-snapshot.json');
const model = 'smollm2';

describe('stator probe of a real model and of every parser', function () {
  this.timeout(600_000);
  let cluster: Cluster | undefined;
  let results: readonly ProbeResult[];
  let recorded: readonly ProbeResult[];

  before(async function () {
    const modelPath = await findDefaultModel();
    if (modelPath === undefined) return skip(this, 'the default model cannot be had');
    recorded = parseSnapshot(await readFile(snapshotFile, 'utf8'), 'the snapshot').results;
    const settings = { model: [modelPath], modelName: [model], contextLength: 4096 };
    cluster = await startCluster({ workers: [{ engine: 'llamacpp', settings }] });
    const limits = ['--max-tokens', '96', '--timeout-seconds', '300', '--fail-on', 'never'];
    const { code, stdout, stderr } = await runStator(['probe', '--url', cluster.url, '--json', ...limits]);
    expect(code, stderr).to.equal(0);
    ({ results } = parseSnapshot(stdout, 'stdout'));
  });

  after(() => cluster?.stop());

  it('finds no defect', () => {
    expect(results.filter(isDefect)).to.deep.equal([]);
  });

  it('passes whatever the snapshot passes that is not for the model to choose', () => {
    const key = ({ model: of, parser, probe, streamed }: ProbeResult) => [of, parser, probe, streamed].join('|');
    const now = new Map(results.map((one) => [key(one), one]));
    const due = recorded.filter(({ outcome, mode }) => outcome === 'pass' && mode !== 'auto');
    expect(due).not.to.be.empty;
    const lost = due.filter((one) => now.get(key(one))?.outcome !== 'pass');
    expect(lost.map(key)).to.deep.equal([]);
  });
});
