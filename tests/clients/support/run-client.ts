import { inProject } from '../../../scripts/support/project.ts';
import { run } from '../../../scripts/support/run.ts';

const TIMEOUT_MS = 120_000;

/** What a client's process prints: one line of JSON, warnings beside it. Node's clients run without the conditions of our own sources. */
async function runClient<Found>(program: string, script: string, args: readonly string[]): Promise<Found> {
  const file = inProject(`tests/clients/${script}`);
  const { status, output } = await run(program, [file, ...args], { timeoutMs: TIMEOUT_MS });
  if (status !== 0) throw new Error(`${script} ended with status ${status}:\n${output}`);
  const line = output.split('\n').findLast((one) => one.startsWith('{"'));
  return JSON.parse(line ?? '') as Found;
}

export function runNodeClient<Found>(script: string, args: readonly string[]): Promise<Found> {
  return runClient<Found>(process.execPath, `node/${script}`, args);
}

export function runPythonClient<Found>(python: string, script: string, args: readonly string[]): Promise<Found> {
  return runClient<Found>(python, `python/${script}`, args);
}
