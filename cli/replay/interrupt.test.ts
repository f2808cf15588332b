import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect } from 'chai';
import { startFakeGateway, streamAnswer } from '#sim/online/fake-gateway.test-support.ts';
import { parseReportJson } from '#sim/report/report-json.ts';
import { statorCommand } from '../stator.test-support.ts';

const load = ['--synthetic', 'plain', '--request-count', '50', '--input-tokens', '64', '--output-tokens', '4'];

describe('stator replay, interrupted', function () {
  this.timeout(180_000);

  it('reports what is over and ends with code 130', async () => {
    let arrived = 0;
    let third: () => void = () => {};
    const blocked = new Promise<void>((resolve) => {
      third = resolve;
    });
    await using gateway = await startFakeGateway((asked, res) => {
      // The third request is never answered.
      if (++arrived < 3) streamAnswer(asked, res, '1');
      else third();
    });
    const args = ['replay', ...load, '--concurrency', '1', '--online', gateway.url, '--report-json', '-'];
    const child = spawn(process.execPath, [...statorCommand(), ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    const closed = once(child, 'close');
    const output: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    await blocked;
    child.kill('SIGINT');
    const [code] = (await closed) as [number | null];
    expect(code).to.equal(130);
    const report = parseReportJson(Buffer.concat(output).toString(), 'report');
    expect(report.run).to.include({ partial: true, time: 'real' });
    expect(report.requests).to.include({ sent: 2, completed: 2, failed: 0 });
  });
});
