import { spawn } from 'node:child_process';

export interface CommandResult {
  /** Exit status; undefined if the command does not exist or a signal ended it. */
  readonly status: number | undefined;
  /** What it wrote, the last 64 KiB. */
  readonly output: string;
}

export interface CommandOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
}

/** Runs a command without a shell and without input. Never throws: one that cannot be started has no status. */
export function runCommand(
  command: string,
  args: readonly string[],
  { env, signal, timeoutMs }: CommandOptions,
): Promise<CommandResult> {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(signal === undefined ? {} : { signal }),
    });
    let output = '';
    const take = (chunk: Buffer): void => {
      output = (output + chunk.toString()).slice(-65_536);
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    // spawn's own timeout would keep this process alive after a command that does not exist.
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    const end = (result: CommandResult): void => {
      clearTimeout(timer);
      resolve(result);
    };
    child.on('error', (error) => end({ status: undefined, output: `${output}${error.message}` }));
    child.on('close', (status) => end({ status: status ?? undefined, output }));
  });
}
