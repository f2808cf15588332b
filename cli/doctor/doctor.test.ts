import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { runStator } from '../stator.test-support.ts';
import type { Section } from './check.ts';

interface Report {
  readonly ok: boolean;
  readonly sections: readonly Section[];
}

describe('stator doctor', function () {
  this.timeout(180_000);
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stator-doctor-'));
  });
  after(() => rm(folder, { recursive: true }));

  function find(report: Report, section: string, name: string) {
    const found = report.sections.find((each) => each.name === section)?.findings.find((each) => each.name === name);
    if (found === undefined) throw new Error(`there is no finding ${section}/${name}`);
    return found;
  }

  it('reports every section as JSON and gives advice wherever something is amiss', async () => {
    const { stdout } = await runStator(['doctor', '--json', '--discovery', `file:${folder}/discovery`]);
    const report = JSON.parse(stdout) as Report;
    const names = ['system', 'toolchain', 'gpu', 'nixl', 'kv', 'network', 'stator'];
    expect(report.sections.map(({ name }) => name)).to.deep.equal(names);
    for (const finding of report.sections.flatMap(({ findings }) => findings)) {
      expect(finding.status).to.be.oneOf(['ok', 'warn', 'fail']);
      if (finding.status !== 'ok') expect(finding.advice, finding.name).to.match(/\S/);
    }
    expect(find(report, 'toolchain', 'node').status).to.equal('ok');
    expect(find(report, 'stator', 'discovery').status).to.equal('ok');
  });

  it('fails with code 1 where discovery cannot work, and warns about a taken port', async () => {
    await writeFile(join(folder, 'a-file'), '');
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
    const port = String((holder.address() as AddressInfo).port);
    const run = await runStator(['doctor', '--json', '--port', port, '--discovery', `file:${folder}/a-file/x`]);
    await new Promise((resolve) => holder.close(resolve));
    const report = JSON.parse(run.stdout) as Report;
    expect(find(report, 'network', 'port')).to.include({ status: 'warn' });
    expect(find(report, 'stator', 'discovery')).to.include({ status: 'fail' });
    expect(report.ok).to.equal(false);
    expect(run.code).to.equal(1);
  });
});
