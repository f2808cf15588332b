import { spawn } from 'node:child_process';
import { extname, join } from 'node:path';

export interface CommandRun {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `stator ARGS` in a process of its own and waits for its end. */
export function runStator(
  args: readonly string[],
  options: { readonly input?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<CommandRun> {
  const child = spawn(process.execPath, [...statorCommand(), ...args], {
    // biome-ignore lint/style/noProcessEnv: a child process needs the machine's environment.
    env: { ...process.env, ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk;
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk;
  });
  child.stdin.end(options.input ?? '');
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, stdout, stderr })));
}

export function statorCommand(): string[] {
  const main = join(import.meta.dirname, `main${extname(import.meta.filename)}`);
  return ['--conditions=source', '--disable-warning=ExperimentalWarning', main];
}
