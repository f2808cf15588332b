import { spawn } from 'node:child_process';
import { projectRoot, toolEnvironment } from './project.ts';

export interface Outcome {
  /** Exit status; -1 where the command could not be started or a signal ended it. */
  readonly status: number;
  /** What it wrote to stdout and stderr, in the order of arrival; empty where it was shown at once. */
  readonly output: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Gets the command's output as it comes, instead of its being collected. */
  readonly show?: (text: string) => void;
  readonly timeoutMs?: number;
}

/** Runs a command without a shell and without input. Never throws: a command that cannot be started has status -1. */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: options.cwd ?? projectRoot,
      env: options.env ?? toolEnvironment(),
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(options.timeoutMs === undefined ? {} : { timeout: options.timeoutMs, killSignal: 'SIGKILL' as const }),
    });
    const chunks: string[] = [];
    const take = options.show ?? ((text: string) => void chunks.push(text));
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', take);
    child.on('error', (error) => resolve({ status: -1, output: `${chunks.join('')}${error.message}\n` }));
    child.on('close', (status) => resolve({ status: status ?? -1, output: chunks.join('') }));
  });
}

/** Runs one of the repository's own JavaScript tools under this Node. */
export function runTool(script: string, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return run(process.execPath, [script, ...args], options);
}

/** Whether a command exists and answers. */
export async function answers(command: string, args: readonly string[]): Promise<boolean> {
  return (await run(command, args, { timeoutMs: 20_000 })).status === 0;
}
