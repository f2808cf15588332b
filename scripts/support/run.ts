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
  /** Passes the command's output through instead of collecting it. */
  readonly show?: boolean;
  readonly timeoutMs?: number;
}

/** Runs a command without a shell and without input. Never throws: a command that cannot be started has status -1. */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: options.cwd ?? projectRoot,
      env: options.env ?? toolEnvironment(),
      stdio: ['ignore', options.show ? 'inherit' : 'pipe', options.show ? 'inherit' : 'pipe'],
      ...(options.timeoutMs === undefined ? {} : { timeout: options.timeoutMs, killSignal: 'SIGKILL' as const }),
    });
    const chunks: Buffer[] = [];
    child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => chunks.push(chunk));
    const output = () => Buffer.concat(chunks).toString();
    child.on('error', (error) => resolve({ status: -1, output: `${output()}${error.message}\n` }));
    child.on('close', (status) => resolve({ status: status ?? -1, output: output() }));
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
