import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, openSync, readSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { vocabLoad } from './index.ts';
import type { Damage } from './testing/load-corpus.ts';
import { skippedBecause, smolLm2 } from './testing/model.ts';

const script = new URL('./testing/load-corpus.ts', import.meta.url).pathname;

function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function uint64(value: bigint): string {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes.toString('base64');
}

const intact = { content: null, truncate: null, patches: [] };

describe('llama.cpp addon: files that are no model', () => {
  let folder: string;

  before(() => {
    folder = mkdtempSync(path.join(os.tmpdir(), 'stator-gguf-'));
  });

  after(() => rmSync(folder, { recursive: true, force: true }));

  async function rejection(file: string): Promise<{ code: unknown; field: unknown; message: string }> {
    const error: unknown = await vocabLoad(file).then(
      () => expect.fail(`${file} was loaded`),
      (thrown: unknown) => thrown,
    );
    if (!(error instanceof Error)) throw error;
    return { code: Reflect.get(error, 'code'), field: Reflect.get(error, 'field'), message: error.message };
  }

  it('says what is wrong with a path', async () => {
    expect(await rejection(path.join(folder, 'none.gguf'))).to.include({ code: 'not_found', field: 'model' });
    expect(await rejection(folder)).to.include({ code: 'invalid_argument', field: 'model' });
    const dangling = path.join(folder, 'dangling.gguf');
    symlinkSync(path.join(folder, 'target'), dangling);
    expect((await rejection(dangling)).code).to.equal('not_found');
    const secret = path.join(folder, 'secret.gguf');
    writeFileSync(secret, 'GGUF');
    chmodSync(secret, 0);
    // The superuser may read everything.
    expect((await rejection(secret)).code).to.equal(
      process.getuid?.() === 0 ? 'invalid_argument' : 'permission_denied',
    );
  });

  it('refuses foreign and empty files', async () => {
    const contents = {
      empty: '',
      text: 'hello',
      magic: 'GGUF',
      version: 'GGUF\u0009\0\0\0',
      zip: 'PK\u0003\u0004 and more',
    };
    for (const [name, content] of Object.entries(contents)) {
      const file = path.join(folder, `${name}.gguf`);
      writeFileSync(file, content, 'latin1');
      const { code, message } = await rejection(file);
      expect(code, name).to.equal('invalid_argument');
      expect(message, name).to.include(file);
    }
  });

  it(`never crashes on a damaged model${skippedBecause}`, function () {
    this.timeout(180_000);
    if (smolLm2 === undefined) return this.skip();
    const { size } = statSync(smolLm2);
    const headerBytes = 2_000_000;
    const next = random(2026);
    const header = Buffer.alloc(64);
    readSync(openSync(smolLm2, 'r'), header, 0, 64, 0);
    const damages: Damage[] = [];
    for (let i = 0; i < 40; i++) {
      const truncate = Math.floor(i < 25 ? next() * headerBytes : next() * (size - 1));
      damages.push({ ...intact, name: `cut at ${truncate}`, truncate });
    }
    for (const offset of [8, 16, 24]) {
      for (const count of [0n, 1n, 2n ** 31n, 2n ** 63n, 2n ** 64n - 1n]) {
        damages.push({ ...intact, name: `count ${count} at ${offset}`, patches: [{ offset, bytes: uint64(count) }] });
      }
    }
    for (let i = 0; i < 60; i++) {
      const offset = Math.floor(next() * (i < 40 ? 4000 : headerBytes));
      const bytes = Buffer.from([Math.floor(next() * 256)]).toString('base64');
      damages.push({ ...intact, name: `byte at ${offset}`, patches: [{ offset, bytes }] });
    }
    for (let i = 0; i < 10; i++) {
      const noise = Buffer.from(Array.from({ length: 5000 }, () => Math.floor(next() * 256)));
      header.copy(noise, 0, 0, 24);
      damages.push({ name: `noise ${i}`, content: noise.toString('base64'), truncate: null, patches: [] });
    }
    const corpus = path.join(folder, 'corpus.json');
    writeFileSync(corpus, JSON.stringify(damages));
    const child = spawnSync(process.execPath, ['--conditions=source', script, smolLm2, folder, corpus], {
      encoding: 'utf8',
    });
    const lines = child.stdout.trimEnd().split('\n');
    expect(child.signal, `died at ${lines.at(-1)}\n${child.stderr.slice(-2000)}`).to.equal(null);
    expect(child.status, child.stderr.slice(-2000)).to.equal(0);
    expect(lines).to.have.length(damages.length);
    for (const line of lines) {
      const expected = line.startsWith('byte at') ? /\t(?:loaded|invalid_argument: )/ : /\tinvalid_argument: /;
      expect(line).to.match(expected);
    }
  });
});
