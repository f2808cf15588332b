import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { packageRoot } from '#lib/config/package.ts';
import { commands } from './commands.ts';
import { settingTables } from './setting-tables.ts';
import { runStator } from './stator.test-support.ts';

describe('the stator command', function () {
  this.timeout(180_000);

  it('lists its commands', async () => {
    const { code, stdout } = await runStator(['--help']);
    expect(code).to.equal(0);
    for (const { name } of commands) expect(stdout).to.include(`  ${name} `);
  });

  it('says its version', async () => {
    const { version } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { version: string };
    expect((await runStator(['--version'])).stdout).to.equal(`${version}\n`);
  });

  it('explains each command', async () => {
    const runs = await Promise.all(
      ['gateway', 'worker mocker', 'models pull'].map((name) => runStator(['help', ...name.split(' ')])),
    );
    expect(runs.map(({ code }) => code)).to.deep.equal([0, 0, 0]);
    expect(runs[0]?.stdout).to.include('Usage: stator gateway').and.include('STATOR_LISTEN');
    expect(runs[1]?.stdout).to.include('Usage: stator worker mocker [options]');
    expect(runs[2]?.stdout).to.include('Usage: stator models pull [REFERENCE …] [options]');
  });

  it('refuses unknown commands with the nearest and code 2', async () => {
    const run = await runStator(['gatway']);
    expect(run.code).to.equal(2);
    expect(run.stderr).to.include('unknown command gatway. Did you mean gateway?');
    expect((await runStator(['worker', 'vllm'])).code).to.equal(2);
  });

  it('refuses unknown settings of flags and environment with code 2', async () => {
    const flag = await runStator(['gateway', '--lisen', 'x']);
    expect(flag).to.include({ code: 2 });
    expect(flag.stderr).to.include('Did you mean --listen?');
    const variable = await runStator(['gateway', '--print-config'], { env: { STATOR_LISEN: 'x' } });
    expect(variable).to.include({ code: 2 });
    expect(variable.stderr).to.include('Unknown setting STATOR_LISEN. Did you mean STATOR_LISTEN?');
    const other = await runStator(['router', '--print-config'], { env: { STATOR_REPLICAS: '2' } });
    expect(other).to.include({ code: 0 });
  });

  it('shows where settings come from and hides secrets', async () => {
    const env = { STATOR_INTERNAL_TOKEN: 'hunter2', STATOR_LOG_LEVEL: 'debug' };
    const { stdout } = await runStator(['router', '--print-config', '--namespace', 'n'], { env });
    expect(stdout).to.include('logLevel: "debug"  # environment').and.include('namespace: "n"  # flag');
    expect(stdout).to.include('internalToken: "[redacted]"').and.not.include('hunter2');
  });

  it('has a setting table for every command', () => {
    expect(Object.keys(settingTables).sort()).to.deep.equal(commands.map(({ name }) => name).sort());
  });

  it('writes the OpenAPI document without a gateway', async () => {
    const { code, stdout } = await runStator(['openapi']);
    expect(code).to.equal(0);
    expect((JSON.parse(stdout) as { paths: object }).paths).to.have.property('/v1/chat/completions');
  });
});
