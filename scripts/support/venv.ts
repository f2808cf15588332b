import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pythonOf, type Venv, venvStamp } from '#tests/support/python.ts';
import { inProject } from './project.ts';
import { type Outcome, run } from './run.ts';

const INSTALL_TIMEOUT_MS = 10 * 60_000;

/** Makes a virtual environment unless it is there already. Returns why it could not be made, or undefined. */
export async function makeVenv({ folder, requirements, flags }: Venv): Promise<string | undefined> {
  const file = inProject(requirements);
  const wanted = await readFile(file, 'utf8');
  const stamp = venvStamp(folder);
  if ((await readFile(stamp, 'utf8').catch(() => '')) === wanted) return undefined;

  await rm(folder, { recursive: true, force: true });
  await mkdir(path.dirname(folder), { recursive: true });
  const made = await run('python3', ['-m', 'venv', folder], { timeoutMs: INSTALL_TIMEOUT_MS });
  if (made.status !== 0) return `python3 -m venv failed: ${lastLine(made)}`;
  // Python compiles what it imports; pip would compile everything, for half of its time.
  const pip = ['-m', 'pip', 'install', '--quiet', '--no-compile', '--disable-pip-version-check', ...flags, '-r', file];
  const installed = await run(pythonOf(folder), pip, { timeoutMs: INSTALL_TIMEOUT_MS });
  if (installed.status !== 0) return `pip install failed: ${lastLine(installed)}`;
  await writeFile(stamp, wanted);
  return undefined;
}

function lastLine(outcome: Outcome): string {
  return outcome.output.trim().split('\n').at(-1) ?? '';
}
