// A virtual environment with the Python packages that tests drive the gateway with, kept in the user's cache.
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pythonFolder, pythonOf } from '#tests/support/python.ts';
import { inProject } from '../support/project.ts';
import { type Outcome, run } from '../support/run.ts';

const INSTALL_TIMEOUT_MS = 10 * 60_000;

/** Makes the environment unless it is there already. Returns why it could not be made, or undefined. */
export async function preparePython(): Promise<string | undefined> {
  const folder = pythonFolder();
  const stamp = path.join(folder, 'requirements.installed');
  const requirements = inProject('tests/clients/python/requirements.txt');
  const wanted = await readFile(requirements, 'utf8');
  if ((await readFile(stamp, 'utf8').catch(() => '')) === wanted) return undefined;

  await rm(folder, { recursive: true, force: true });
  await mkdir(path.dirname(folder), { recursive: true });
  const made = await run('python3', ['-m', 'venv', folder], { timeoutMs: INSTALL_TIMEOUT_MS });
  if (made.status !== 0) return `python3 -m venv failed: ${lastLine(made)}`;
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', requirements];
  const installed = await run(pythonOf(folder), pip, { timeoutMs: INSTALL_TIMEOUT_MS });
  if (installed.status !== 0) return `pip install failed: ${lastLine(installed)}`;
  await writeFile(stamp, wanted);
  return undefined;
}

function lastLine(outcome: Outcome): string {
  return outcome.output.trim().split('\n').at(-1) ?? '';
}
