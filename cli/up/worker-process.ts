import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { StatorError } from '#lib/errors/errors.ts';
import { forwardLine, lineText } from './forward-log.ts';
import { LineLog } from './line-log.ts';

export interface WorkerProcessOptions {
  /** Name in logs, for example "worker-0". */
  readonly name: string;
  /** Program, then its arguments. */
  readonly command: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly logFile: string;
  readonly log: Logger;
  readonly maxRestarts: number;
  readonly onRestart?: () => void;
  /** First wait before a restart; doubles each time. */
  readonly firstBackoffMs?: number;
}

const LONGEST_BACKOFF_MS = 30_000;
/** What a worker printed last is read for this long after its end. */
const LAST_OUTPUT_MS = 500;
/** A worker that lived this long was healthy: its next crash counts as the first. */
const HEALTHY_MS = 60_000;

/** One worker as a child process, started again when it crashes: an engine that aborts must not take the gateway down. */
export class WorkerProcess {
  /** Rejects with a report when the worker is given up. Never resolves. */
  readonly givenUp: Promise<never>;
  readonly #options: WorkerProcessOptions;
  readonly #lines: LineLog;
  readonly #stopping = new AbortController();
  readonly #supervision: Promise<void>;
  #child: ChildProcess | undefined;
  #ready = false;

  constructor(options: WorkerProcessOptions) {
    this.#options = options;
    this.#lines = new LineLog(options.logFile, (line) => forwardLine(options.log, line));
    const { promise, reject } = Promise.withResolvers<never>();
    this.givenUp = promise;
    this.givenUp.catch(() => {});
    this.#supervision = this.#supervise().catch(reject);
    process.on('exit', this.#killNow);
  }

  /** From now on a crash is answered by a restart; before, the worker has never worked and is given up at once. */
  markReady(): void {
    this.#ready = true;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Lets the worker drain; kills it when the grace is over. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort();
    this.#child?.kill('SIGTERM');
    const hard = setTimeout(this.#killNow, graceMs);
    await this.#supervision;
    clearTimeout(hard);
    process.off('exit', this.#killNow);
    this.#lines.close();
  }

  readonly #killNow = (): void => {
    this.#child?.kill('SIGKILL');
  };

  async #supervise(): Promise<void> {
    const { log, maxRestarts, firstBackoffMs = 500, onRestart } = this.#options;
    const { signal } = this.#stopping;
    for (let crashes = 0; ; ) {
      const startedMs = performance.now();
      const end = await this.#runOnce();
      if (signal.aborted) return;
      crashes = performance.now() - startedMs > HEALTHY_MS ? 1 : crashes + 1;
      if (!this.#ready || crashes > maxRestarts) throw this.#report(end);
      const waitMs = Math.min(LONGEST_BACKOFF_MS, firstBackoffMs * 2 ** (crashes - 1));
      log.error({ ...end, output: this.#lines.tail.slice(-10).map(lineText), waitMs }, 'worker crashed; restarting');
      await delay(waitMs, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      onRestart?.();
    }
  }

  #runOnce(): Promise<ProcessEnd> {
    const [program, ...args] = this.#options.command;
    return new Promise((resolve) => {
      // A process group of its own: Ctrl-C in the terminal reaches only this process, which then stops things in order.
      // The IPC channel tells the worker when this process is gone, however it ended.
      const child = spawn(program, args, {
        env: this.#options.env,
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
        detached: true,
      });
      this.#child = child;
      for (const stream of [child.stdout, child.stderr]) {
        stream?.setEncoding('utf8').on('data', (text: string) => this.#lines.push(text));
      }
      child.on('error', (error) => {
        this.#lines.push(`${error.message}\n`);
        resolve({ code: null, signal: null });
      });
      child.on('close', (code, signal) => resolve({ code, signal }));
      // A grandchild may hold the pipes open for long.
      child.on('exit', (code, signal) => setTimeout(() => resolve({ code, signal }), LAST_OUTPUT_MS).unref());
    });
  }

  #report({ code, signal }: ProcessEnd): StatorError {
    const how = signal === null ? `ended with code ${code}` : `was ended by ${signal}`;
    const lines = this.#lines.tail.map((line) => `    ${lineText(line)}`).join('\n');
    const output = lines === '' ? 'It printed nothing.' : `The last it printed:\n${lines}`;
    return new StatorError(
      'engine_failed',
      `${this.#options.name} ${how}. ${output}\n  All of it: ${this.#lines.file}`,
    );
  }
}

interface ProcessEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}
