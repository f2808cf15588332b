import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect } from 'chai';

const fixture = fileURLToPath(new URL('./determinism.fixture.ts', import.meta.url));

async function reportOf(seed: number): Promise<string> {
  const flags = ['--conditions=source', '--no-warnings=ExperimentalWarning', fixture, String(seed)];
  return (await promisify(execFile)(process.execPath, flags)).stdout;
}

describe('the report of a replay', () => {
  it('is the same to the last byte in every process, and another for another seed', async () => {
    const [first, second, other] = await Promise.all([reportOf(1), reportOf(1), reportOf(2)]);
    expect(JSON.parse(first)).to.be.an('object');
    expect(first).to.equal(second).and.not.to.equal(other);
  });
});
