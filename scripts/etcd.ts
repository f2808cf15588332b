// Obtains an etcd server for the tests without touching the system: `node scripts/run.cjs scripts/etcd.ts` prints its path.
import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { cachedEtcd, findEtcd, toolsDirectory } from '#tests/support/etcd-binary.ts';

const ETCD_VERSION = 'v3.7.3';
const MODULE = 'go.etcd.io/etcd/server/v3';
const STEP_TIMEOUT_MS = 15 * 60_000;

const run = promisify(execFile);

/**
 * Path of an etcd: from PATH or the cache, else the system's package unpacked into the cache, else built with Go into the
 * cache. Null when none of these works; every reason goes to `report`.
 */
export async function ensureEtcd(report: (line: string) => void = () => undefined): Promise<string | null> {
  const found = await findEtcd();
  if (found !== undefined) return found;
  for (const [name, obtain] of [
    ['the system package', unpackDebian],
    ['a build with Go', buildWithGo],
  ] as const) {
    try {
      await inScratch(obtain);
      report(`etcd: obtained from ${name}`);
      return cachedEtcd();
    } catch (error) {
      report(`etcd: not from ${name}: ${reasonOf(error)}`);
    }
  }
  return null;
}

/** Gives a step an own folder beside the destination, and takes the binary that it names into the cache in one move. */
async function inScratch(obtain: (scratch: string) => Promise<string>): Promise<void> {
  const destination = cachedEtcd();
  await mkdir(path.dirname(destination), { recursive: true, mode: 0o700 });
  const scratch = await mkdtemp(path.join(toolsDirectory(), 'etcd-'));
  try {
    const binary = await obtain(scratch);
    const staged = path.join(scratch, 'etcd.staged');
    await copyFile(binary, staged);
    await run(staged, ['--version'], { timeout: STEP_TIMEOUT_MS });
    await rename(staged, destination);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function unpackDebian(scratch: string): Promise<string> {
  const o = { cwd: scratch, timeout: STEP_TIMEOUT_MS };
  try {
    await run('apt-get', ['download', 'etcd-server'], o);
  } catch (error) {
    // Without package lists apt knows no package; only root may fetch them.
    if (isNotFound(error) || process.getuid?.() !== 0) throw error;
    await run('apt-get', ['update', '-q'], o);
    await run('apt-get', ['download', 'etcd-server'], o);
  }
  const archive = (await readdir(scratch)).find((name) => name.endsWith('.deb'));
  if (archive === undefined) throw new Error('apt-get downloaded nothing');
  await run('dpkg', ['-x', archive, 'root'], o);
  return path.join(scratch, 'root', 'usr', 'bin', 'etcd');
}

/** A scratch module with a tool line, because `go install` refuses modules with replace directives. */
async function buildWithGo(scratch: string): Promise<string> {
  const { GOFLAGS: _, ...env } = process.env;
  const o = { cwd: scratch, timeout: STEP_TIMEOUT_MS, env: { ...env, CGO_ENABLED: '0', GOTOOLCHAIN: 'local' } };
  const lines = [
    'module stator.invalid/tools/etcd',
    '',
    'go 1.26',
    '',
    `require ${MODULE} ${ETCD_VERSION}`,
    '',
    `tool ${MODULE}`,
    '',
  ];
  await writeFile(path.join(scratch, 'go.mod'), lines.join('\n'));
  await run('go', ['mod', 'tidy'], o);
  await run('go', ['build', '-trimpath', '-ldflags', '-s -w', '-o', 'etcd', MODULE], o);
  return path.join(scratch, 'etcd');
}

function isNotFound(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const stderr = 'stderr' in error && typeof error.stderr === 'string' ? error.stderr.trim() : '';
  const text = stderr === '' ? error.message : stderr;
  return text.split('\n').slice(-3).join(' ');
}

if (import.meta.main) {
  const etcd = await ensureEtcd((line) => process.stderr.write(`${line}\n`));
  if (etcd === null) process.exitCode = 1;
  else process.stdout.write(`${etcd}\n`);
}
