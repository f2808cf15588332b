import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { ControlFile, sweepControlFiles } from '#lib/transfer/shm/control-file.ts';
import { hostMemory } from '#native/hostmem/index.ts';
import { PeerProcess } from './peer-process.ts';

const nobody = { alive: () => false };

describe('files of transfers in shared memory', () => {
  let folder: string;
  const at = (name: string) => path.join(folder, `stator-transfer-${name}`);
  const make = (name: string, ageMs = 0) => {
    writeFileSync(at(name), '');
    const seconds = (Date.now() - ageMs) / 1000;
    utimesSync(at(name), seconds, seconds);
  };

  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'stator-leftovers-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('go where their process is dead, and drafts where they are old', () => {
    for (const name of ['a'.repeat(16), `${'a'.repeat(16)}.sock`, `${'b'.repeat(16)}.sock`, 'c'.repeat(15)]) make(name);
    make(`${'d'.repeat(16)}.new`, 3_600_000);
    make(`${'e'.repeat(16)}.new`);
    writeFileSync(path.join(folder, 'foreign'), '');
    sweepControlFiles(folder, nobody);
    const kept = [`stator-transfer-${'c'.repeat(15)}`, `stator-transfer-${'e'.repeat(16)}.new`, 'foreign'];
    expect(readdirSync(folder).toSorted()).to.deep.equal(kept.toSorted());
  });

  it('stay where their process lives', () => {
    for (const name of ['a'.repeat(16), `${'a'.repeat(16)}.sock`]) make(name);
    make(`${'d'.repeat(16)}.new`, 3_600_000);
    const before = readdirSync(folder);
    sweepControlFiles(folder, { alive: () => true });
    expect(readdirSync(folder)).to.deep.equal(before);
  });

  it('of a killed process are gone when the next one starts, and those of a living one are not', async () => {
    const [killed, living] = [await PeerProcess.start('shm', 4096), await PeerProcess.start('shm', 4096)];
    try {
      const [left, held] = [await controlOf(killed), await controlOf(living)];
      expect([existsSync(left), existsSync(`${left}.sock`)]).to.deep.equal([true, true]);
      await killed.kill();
      new ControlFile(hostMemory()).close();
      expect([left, `${left}.sock`, held, `${held}.sock`].map((file) => existsSync(file))).to.deep.equal([
        false,
        false,
        true,
        true,
      ]);
      const exit = once(living.child, 'exit');
      await living.ask({ op: 'leave' });
      await exit;
      expect([existsSync(held), existsSync(`${held}.sock`)]).to.deep.equal([false, false]);
    } finally {
      await killed.kill();
      await living.kill();
    }
  });
});

async function controlOf(peer: PeerProcess): Promise<string> {
  const { metadata } = await peer.offer();
  const [control] = /\/dev\/shm\/stator-transfer-[0-9a-f]{16}/.exec(Buffer.from(metadata).toString('latin1')) ?? [];
  return control ?? expect.fail('its metadata names no control file');
}
