import { spawn } from 'node:child_process';
import { cp, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './run-command.ts';

// node scripts/run.cjs native/asan.ts [ADDON [TEST]]: builds an addon with AddressSanitizer in a copy, because a sanitised one
// loads only under its preloaded library, and runs the addon's tests on it.
const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const [addon = 'llamacpp', only = ''] = process.argv.slice(2);

async function copySources(to: string): Promise<void> {
  for (const name of ['package.json', 'tsconfig.json', '.mocharc.json'])
    await cp(path.join(root, name), path.join(to, name));
  const skip = (source: string): boolean => path.basename(source) !== 'build';
  await cp(path.join(root, 'native'), path.join(to, 'native'), { recursive: true, filter: skip });
  // Tests compare addons with their twins in core, and find libraries through lib.
  for (const name of ['node_modules', 'core', 'gen', 'lib', 'tests', 'scripts', 'cli'])
    await symlink(path.join(root, name), path.join(to, name));
}

function runTests(folder: string, library: string, tests: readonly string[]): Promise<number> {
  const mocha = path.join(root, 'node_modules', 'mocha', 'bin', 'mocha.js');
  const args = ['--conditions=source', mocha, '--timeout', '600000', ...tests];
  // V8 frees nothing at exit, so leaks are the leak test's business. ASan keeps freed memory, which that test would count.
  const env = {
    // Some tests compile against published headers.
    PATH: [path.dirname(process.execPath), '/usr/local/bin', '/usr/bin', '/bin'].join(path.delimiter),
    HOME: os.homedir(),
    LD_PRELOAD: library,
    ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=1',
  };
  return new Promise((resolve) => {
    const grep = ['--grep', 'does not grow', '--invert'];
    spawn(process.execPath, [...args, ...grep], { cwd: folder, env, stdio: 'inherit' }).on('close', (code) =>
      resolve(code ?? 1),
    );
  });
}

const folder = await mkdtemp(path.join(os.tmpdir(), 'stator-asan-'));
try {
  await copySources(folder);
  const build = [path.join(folder, 'native', 'build.ts'), addon, '--sanitize=address'];
  await run(process.execPath, ['--conditions=source', ...build], folder);
  const library = (await run('g++', ['-print-file-name=libasan.so'], folder)).trim();
  const names = await readdir(path.join(folder, 'native', addon));
  const tests = names
    .filter((name) => name.endsWith('.test.ts') && name.includes(only))
    .map((name) => `native/${addon}/${name}`);
  process.exitCode = await runTests(folder, library, tests);
} finally {
  await rm(folder, { recursive: true, force: true });
}
