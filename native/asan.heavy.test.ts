import path from 'node:path';
import { expect } from 'chai';
import { run } from './run-command.ts';

const script = path.join(import.meta.dirname, 'asan.ts');

/** llama.cpp's addon takes minutes more; `npm run test:asan` has it too. */
const addons = ['hostmem', 'kvindex', 'nixl', 'tokens'];

describe('addons under AddressSanitizer', function () {
  this.timeout(15 * 60_000);

  it('pass their tests', async () => {
    const output = await run(process.execPath, ['--conditions=source', script, ...addons], import.meta.dirname);
    expect(output).to.match(/\d+ passing/);
  });
});
