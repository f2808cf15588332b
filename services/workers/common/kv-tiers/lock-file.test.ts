import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { hostMemory } from '#native/hostmem/index.ts';
import { LockFile, sweepLockFiles } from './lock-file.ts';

describe('LockFile', () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'stator-lock-'));
  after(() => rmSync(directory, { recursive: true }));

  it('is locked while it is open, and gone after', () => {
    const locks = hostMemory();
    const file = new LockFile(directory, 'one', locks);
    const other = openSync(file.path, 'r+');
    expect([locks.alive(other), locks.own(other)]).to.deep.equal([true, false]);
    expect(() => new LockFile(directory, 'one', locks)).to.throw(/EEXIST/);
    file.close();
    file.close();
    expect([locks.alive(other), existsSync(file.path)]).to.deep.equal([false, false]);
    closeSync(other);
  });

  it('is swept away when its process has ended, and not before', () => {
    const locks = hostMemory();
    const file = new LockFile(directory, 'two', locks);
    const stale = file.path.replace('two', 'three');
    writeFileSync(stale, '');
    writeFileSync(path.join(directory, 'foreign.lock'), '');
    sweepLockFiles(directory, locks);
    expect(readdirSync(directory).toSorted()).to.deep.equal(['foreign.lock', path.basename(file.path)].toSorted());
    file.close();
  });
});
