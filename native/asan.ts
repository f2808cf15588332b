import { spawn } from 'node:child_process';
import { cp, glob, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { findAddons } from './build.ts';
import { run } from './run-command.ts';

// npm run test:asan [-- ADDON … [--only TEST]]: builds addons, all unless some are named, with AddressSanitizer in a copy of the
// sources, because a sanitised one loads only under its preloaded library, and runs the tests that use them.
const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const copied = ['core', 'gen', 'lib', 'native', 'services', 'tests', 'package.json', 'tsconfig.json', '.mocharc.json'];
const linked = ['node_modules', 'scripts', 'cli', 'gateway'];

/** Tests outside an addon's own folder that work it hardest. */
const further: Readonly<Record<string, readonly string[]>> = {
  hostmem: [
    'tests/sharedmem/*.test.ts',
    'tests/transfer/shm.test.ts',
    'services/workers/common/kv-tiers/{lock-file,mapped-slab}.test.ts',
  ],
  tokens: ['core/tokens/*.test.ts'],
};
/** V8 frees nothing at exit, so leaks are left to tests of their own, and ASan keeps freed memory, which those would count. */
const asanOptions = 'detect_leaks=0:abort_on_error=1';
const leakTests = 'does not grow';

async function copySources(to: string): Promise<void> {
  const filter = (file: string): boolean => path.basename(file) !== 'build';
  for (const name of copied) await cp(path.join(root, name), path.join(to, name), { recursive: true, filter });
  for (const name of linked) await symlink(path.join(root, name), path.join(to, name));
}

async function findLibrary(): Promise<string> {
  const library = (await run('g++', ['-print-file-name=libasan.so'], root)).trim();
  if (!path.isAbsolute(library)) throw new Error('g++ has no libasan. On Debian and Ubuntu: apt-get install g++.');
  return library;
}

/** Throws where the build did not take the option: such an addon would pass whatever it does. */
async function checkSanitised(folder: string, addon: string): Promise<void> {
  const binary = await readFile(path.join(folder, 'native', addon, 'build', 'Release', `${addon}.node`));
  if (!binary.includes('__asan_report_load')) throw new Error(`native/${addon} was built without AddressSanitizer.`);
}

async function testsOf(folder: string, addons: readonly string[], only: string): Promise<string[]> {
  const patterns = addons.flatMap((addon) => [`native/${addon}/*.test.ts`, ...(further[addon] ?? [])]);
  const found: string[] = [];
  for await (const file of glob(patterns, { cwd: folder })) found.push(file);
  return found.filter((file) => !file.endsWith('.heavy.test.ts') && path.basename(file).includes(only)).sort();
}

function runTests(folder: string, library: string, tests: readonly string[]): Promise<number> {
  const mocha = path.join(root, 'node_modules', 'mocha', 'bin', 'mocha.js');
  const args = ['--conditions=source', '--expose-gc', mocha, '--timeout', '600000'];
  const env = {
    // Some tests compile against published headers.
    PATH: [path.dirname(process.execPath), '/usr/local/bin', '/usr/bin', '/bin'].join(path.delimiter),
    HOME: os.homedir(),
    LD_PRELOAD: library,
    ASAN_OPTIONS: asanOptions,
  };
  const filter = ['--grep', leakTests, '--invert'];
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...args, ...filter, ...tests], { cwd: folder, env, stdio: 'inherit' });
    child.on('close', (code) => resolve(code ?? 1));
  });
}

async function main(args: readonly string[]): Promise<number> {
  const at = args.indexOf('--only');
  const only = at < 0 ? '' : (args[at + 1] ?? '');
  const named = at < 0 ? args : args.slice(0, at);
  const addons = named.length > 0 ? named : await findAddons();
  const folder = await mkdtemp(path.join(os.tmpdir(), 'stator-asan-'));
  try {
    await copySources(folder);
    const build = [path.join(folder, 'native', 'build.ts'), ...addons, '--sanitize=address'];
    await run(process.execPath, ['--conditions=source', ...build], folder);
    for (const addon of addons) await checkSanitised(folder, addon);
    return await runTests(folder, await findLibrary(), await testsOf(folder, addons, only));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

process.exitCode = await main(process.argv.slice(2));
