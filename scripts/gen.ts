// Writes gen/ from proto/. `--check`: writes nothing, fails where gen/ differs from what the contracts give.
import { cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { inProject } from './support/project.ts';
import { runTool } from './support/run.ts';
import { say } from './support/say.ts';

const gen = inProject('gen');
const check = process.argv.includes('--check');
const fresh = await mkdtemp(path.join(os.tmpdir(), 'stator-gen-'));
try {
  const generated = await runTool(inProject('node_modules/@bufbuild/buf/bin/buf'), ['generate', '-o', fresh]);
  if (generated.status !== 0) {
    say(generated.output);
    process.exitCode = 1;
  } else {
    const drift = await differences(path.join(fresh, 'gen'), gen);
    if (check) report(drift);
    else await install(drift);
  }
} finally {
  await rm(fresh, { recursive: true, force: true });
}

function report(drift: readonly string[]): void {
  for (const line of drift) say(line);
  if (drift.length === 0) return;
  say('gen/ is not what proto/ gives: run `npm run gen` and commit the result.');
  process.exitCode = 1;
}

async function install(drift: readonly string[]): Promise<void> {
  if (drift.length > 0) {
    await rm(gen, { recursive: true, force: true });
    await cp(path.join(fresh, 'gen'), gen, { recursive: true });
  }
  say(drift.length === 0 ? 'gen/ is up to date' : drift.join('\n'));
}

async function differences(wanted: string, actual: string): Promise<string[]> {
  const [wantedFiles, actualFiles] = await Promise.all([files(wanted), files(actual)]);
  const lines: string[] = [];
  for (const file of wantedFiles) {
    if (!actualFiles.has(file)) lines.push(`missing: gen/${file}`);
    else if (!(await same(path.join(wanted, file), path.join(actual, file)))) lines.push(`differs: gen/${file}`);
  }
  for (const file of actualFiles) if (!wantedFiles.has(file)) lines.push(`stale: gen/${file}`);
  return lines;
}

async function files(folder: string): Promise<Set<string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const found = entries.filter((entry) => entry.isFile());
  return new Set(found.map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name))).sort());
}

async function same(left: string, right: string): Promise<boolean> {
  const [a, b] = await Promise.all([readFile(left), readFile(right)]);
  return a.equals(b);
}
