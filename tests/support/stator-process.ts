import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { inProject, projectRoot } from '../../scripts/support/project.ts';
import { until } from './until.ts';

/** Settings by their name in code; each becomes a `--kebab-case` flag. */
export type Overrides = Readonly<Record<string, string | number | boolean | readonly string[]>>;

/** `{ maxRequests: 8 }` as `['--max-requests', '8']`. */
export function flagsOf(overrides: Overrides): string[] {
  return Object.entries(overrides).flatMap(([name, value]) => {
    const flag = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    return typeof value === 'boolean'
      ? [`${flag}=${value}`]
      : [flag, Array.isArray(value) ? value.join(',') : String(value)];
  });
}

/** What an ended process wrote last is waited for this long: a grandchild may hold its pipes open. */
const LAST_OUTPUT_MS = 5000;

const SOURCE_FLAGS = ['--conditions=source', '--disable-warning=ExperimentalWarning'];

/** A running `stator` command. */
export class StatorProcess implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly #exit: Promise<number | null>;
  #output = '';
  #ended = false;

  /** `command` replaces the sources of this repository, for example by an installed package. */
  constructor(args: readonly string[], options: { command?: readonly string[]; env?: NodeJS.ProcessEnv } = {}) {
    const [file = '', ...fixed] = options.command ?? [process.execPath, ...SOURCE_FLAGS, inProject('cli/main.ts')];
    this.child = spawn(file, [...fixed, ...args], {
      cwd: projectRoot,
      env: { ...process.env, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child.stdout?.on('data', (chunk: Buffer) => this.#take(chunk));
    this.child.stderr?.on('data', (chunk: Buffer) => this.#take(chunk));
    const closed = once(this.child, 'close');
    this.#exit = once(this.child, 'exit').then(async ([code]) => {
      await Promise.race([closed, delay(LAST_OUTPUT_MS, undefined, { ref: false })]);
      this.#ended = true;
      return code as number | null;
    });
  }

  /** The last of what it wrote, for messages of failed tests. */
  get output(): string {
    return this.#output;
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Exit code once it has ended and all of its output is there; null where a signal ended it. */
  get exited(): Promise<number | null> {
    return this.#exit;
  }

  get pid(): number {
    return this.child.pid ?? -1;
  }

  /** Resolves with the first match in what it has written. */
  async printed(pattern: RegExp, timeoutMs = 30_000): Promise<RegExpMatchArray> {
    const match = await until(
      `${pattern} in the output`,
      () => this.#output.match(pattern) ?? (this.#ended ? 'ended' : undefined),
      timeoutMs,
    );
    if (match === 'ended') throw new Error(`The process ended before it printed ${pattern}:\n${this.#output}`);
    return match;
  }

  /** Sends a signal and resolves with the exit code; null where a signal ended it. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (this.running) this.child.kill(signal);
    return this.#exit;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const hard = setTimeout(() => this.child.kill('SIGKILL'), 15_000);
    await this.stop();
    clearTimeout(hard);
  }

  #take(chunk: Buffer): void {
    this.#output = (this.#output + chunk.toString()).slice(-1_000_000);
  }
}
