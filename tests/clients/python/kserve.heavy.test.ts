import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { addVectors, serveTensors, type TensorWorld, tensorWorld } from '#gateway/testing/tensors.ts';
import type { RpcServer } from '#lib/rpc/server.ts';
import { makeVenv } from '../../../scripts/support/venv.ts';
import { pythonOf, venvs } from '../../support/python.ts';
import { skip } from '../../support/skip.ts';
import { runPythonClient } from '../support/run-client.ts';

interface Found {
  readonly server: unknown;
  readonly described: unknown;
  readonly whole: unknown;
  readonly chosen: unknown;
  readonly embedded: unknown;
  readonly streamed: { readonly said: unknown; readonly pieces: number; readonly errors: readonly string[] };
  readonly refused: unknown;
}

const key = 'a-key';

describe('tritonclient for Python, by gRPC', function () {
  this.timeout(120_000);
  const directory = mkdtempSync(join(tmpdir(), 'stator-kserve-'));
  let world: TensorWorld | undefined;
  let server: RpcServer | undefined;
  let found: Found;

  before(async function () {
    this.timeout(10 * 60_000);
    const problem = await makeVenv(venvs.triton);
    if (problem !== undefined) skip(this, problem);
    const python = pythonOf(venvs.triton.folder);
    const apiKeysFile = join(directory, 'keys.yaml');
    const hash = `sha256:${createHash('sha256').update(key).digest('hex')}`;
    writeFileSync(apiKeysFile, JSON.stringify({ keys: [{ id: 'a', hash }] }));
    world = await tensorWorld({ apiKeysFile });
    addVectors(world.gateway);
    server = await serveTensors(world.gateway);
    found = await runPythonClient(python, 'triton/kserve_client.py', [server.address, 'test-model', key]);
  });
  after(async () => {
    await server?.stop(0);
    await world?.[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true });
  });

  it('asks for readiness', () => {
    expect(found.server).to.deep.equal({ live: true, ready: true, model: true, other: false, name: 'stator' });
  });

  it('reads what a model takes and gives', () => {
    expect(found.described).to.deep.equal({
      inputs: [
        ['text_input', 'BYTES', [1]],
        ['streaming', 'BOOL', [1]],
      ],
      outputs: [
        ['text_output', 'BYTES', [-1]],
        ['finish_reason', 'BYTES', [-1]],
      ],
      optional: ['streaming'],
      backend: 'stator',
    });
  });

  it('infers a text, and the outputs that it wants', () => {
    expect(found.whole).to.deep.equal({ id: 'first', text: ['Hel'], finish: ['length'] });
    expect(found.chosen).to.deep.equal(['text_output']);
  });

  it('embeds texts', () => {
    expect(found.embedded).to.deep.equal({
      outputs: [['embeddings', 'FP32', [-1, 4]]],
      type: 'float32',
      vectors: [
        [2, 0, 3, 4],
        [6, 0, 3, 4],
      ],
      short: [2, 3],
    });
  });

  it('streams several texts at once, one request of them wrong', () => {
    expect(found.streamed.said).to.deep.equal({ a: 'Hello', b: 'Hello' });
    expect(found.streamed.errors).to.have.length(1);
    expect(found.streamed.errors[0]).to.include('model_not_found');
  });

  it('raises errors with the status of gRPC', () => {
    expect(found.refused).to.deep.equal({
      model: 'StatusCode.NOT_FOUND',
      parameter: 'StatusCode.INVALID_ARGUMENT',
      streaming: 'StatusCode.INVALID_ARGUMENT',
      key: 'StatusCode.UNAUTHENTICATED',
      metadata: 'StatusCode.UNAUTHENTICATED',
    });
  });
});
