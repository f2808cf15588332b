import { expect } from 'chai';
import type { Finding } from '#cli/doctor/check.ts';
import { nixlSection } from '#cli/doctor/nixl.ts';
import { findNixl, NO_NIXL } from '#tests/support/nixl.ts';
import { skip } from '#tests/support/skip.ts';

describe('stator doctor and NIXL', function () {
  this.timeout(180_000);

  async function examine(library: string): Promise<(name: string) => Finding | undefined> {
    const { findings } = await nixlSection(library);
    return (name) => findings.find((each) => each.name === name);
  }

  it('says what to do where there is no NIXL', async () => {
    const library = (await examine('/nowhere/libnixl_capi.so'))('library');
    expect(library?.status).to.equal('warn');
    expect(library?.detail).to.match(/cannot be loaded/);
    expect(library?.advice).to.match(/pip install/);
  });

  it('says which plugins load', async function () {
    const library = findNixl() ?? skip(this, NO_NIXL);
    const find = await examine(library);
    expect(find('library')).to.include({ status: 'ok', detail: library });
    expect(find('plugin UCX')).to.include({ status: 'ok', detail: 'dram, vram' });
    expect(find('plugin POSIX')?.status).to.equal('ok');
  });
});
