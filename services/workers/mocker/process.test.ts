import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { collect, rejection } from './testing.ts';

const main = fileURLToPath(new URL('./main.ts', import.meta.url));

describe('worker: process', function () {
  this.timeout(60_000);
  let folder: string;
  let child: ChildProcess | undefined;

  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'stator-worker-'));
  });

  afterEach(async () => {
    child?.kill('SIGKILL');
    if (child !== undefined) await exit();
    child = undefined;
    await rm(folder, { recursive: true, force: true });
  });

  /** Resolves with the address once the process says that it is ready. */
  async function start(...flags: string[]): Promise<string> {
    const common = ['--discovery', `file:${folder}`, '--log-format', 'json', '--mean-output-tokens', '0'];
    const started = spawn(process.execPath, ['--conditions=source', main, ...common, ...flags], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    child = started;
    let output = '';
    return new Promise((resolve, reject) => {
      started.once('exit', () => reject(new Error(`the worker did not start:\n${output}`)));
      started.stderr.on('data', (chunk: Buffer) => {
        output += chunk.toString();
        const address = /"address":"([^"]+)"/.exec(output)?.[1];
        if (address !== undefined) resolve(address);
      });
    });
  }

  async function exit(): Promise<[number | null, NodeJS.Signals | null]> {
    if (child === undefined) throw new Error('no process');
    if (child.exitCode !== null || child.signalCode !== null) return [child.exitCode, child.signalCode];
    const [code, signal] = await once(child, 'exit');
    return [code, signal];
  }

  function generate(address: string, maxTokens: number) {
    const rpc = createRpcClient(EngineService, { address }, quietTelemetry());
    const stop = { maxTokens, ignoreEos: true };
    return collect(rpc.client.generate({ prompt: 'abc', stop })).finally(() => rpc.close());
  }

  it('finishes what runs after SIGTERM, then leaves', async () => {
    const address = await start('--step-ms', '2');
    const rpc = createRpcClient(EngineService, { address }, quietTelemetry());
    let tokens = 0;
    for await (const part of rpc.client.generate({ prompt: 'abc', stop: { maxTokens: 200, ignoreEos: true } })) {
      if (tokens === 0) child?.kill('SIGTERM');
      tokens += part.tokenIds.length;
    }
    rpc.close();
    expect(tokens).to.equal(200);
    expect(await exit()).to.deep.equal([0, null]);
    expect((await readdir(folder, { recursive: true })).filter((name) => name.endsWith('.json'))).to.deep.equal([]);
  });

  it('exits non-zero when its engine fails', async () => {
    const address = await start('--fail-engine-after-tokens', '40');
    expect(await rejection(generate(address, 100))).to.have.property('code', 'engine_failed');
    expect(await exit()).to.deep.equal([1, null]);
  });

  it('dies where it is told to', async () => {
    const address = await start('--kill-after-tokens', '40');
    expect(await rejection(generate(address, 100))).to.have.property('code');
    expect(await exit()).to.deep.equal([null, 'SIGKILL']);
  });
});
