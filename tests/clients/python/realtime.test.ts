import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { type RealtimeWorld, realtimeWorld } from '#gateway/testing/realtime.ts';
import { answering } from '#gateway/testing/scripted-worker.ts';
import { findPython } from '../../support/python.ts';
import { skip } from '../../support/skip.ts';
import { runPythonClient } from '../support/run-client.ts';

interface Found {
  readonly conversation: unknown;
  readonly refused: number;
}

const key = 'a-key';

describe('official openai package for Python, realtime', function () {
  this.timeout(180_000);
  const directory = mkdtempSync(join(tmpdir(), 'stator-realtime-'));
  let world: RealtimeWorld | undefined;
  let found: Found;

  before(async function () {
    const python = findPython() ?? skip(this, 'the Python packages of the official clients are not installed');
    const apiKeysFile = join(directory, 'keys.yaml');
    const hash = `sha256:${createHash('sha256').update(key).digest('hex')}`;
    writeFileSync(apiKeysFile, JSON.stringify({ keys: [{ id: 'a', hash }] }));
    world = await realtimeWorld({ apiKeysFile }, answering('Hello'));
    const url = `ws://${world.address}/v1`;
    found = await runPythonClient(python, 'realtime_openai.py', [url, 'test-model', key]);
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true });
  });

  it('converses in text, and is told of speech that it cannot have', () => {
    expect(found.conversation).to.deep.equal({
      deltas: 'HelloHello',
      texts: ['Hello', 'Hello'],
      statuses: ['completed', 'completed'],
      errors: [['unsupported', 'type']],
    });
  });

  it('is refused without a valid key', () => {
    expect(found.refused).to.equal(401);
  });
});
