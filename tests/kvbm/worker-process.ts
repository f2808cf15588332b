import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { Answer, Ask } from './protocol.ts';

const FIXTURE = path.join(import.meta.dirname, 'worker.fixture.ts');

/** A worker in a process of its own. */
export class WorkerProcess {
  readonly child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, lines: AsyncIterator<string>) {
    this.child = child;
    this.#lines = lines;
  }

  static async start(address: string, folder: string): Promise<WorkerProcess> {
    const args = ['--conditions=source', '--no-warnings', FIXTURE, address, folder];
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const first = await lines.next();
    if (first.done || first.value !== 'ready') throw new Error('A worker process did not start.');
    return new WorkerProcess(child, lines);
  }

  /** The answer, failures included. */
  async ask(ask: Ask): Promise<Answer> {
    this.child.stdin?.write(`${JSON.stringify(ask)}\n`);
    const line = await this.#lines.next();
    if (line.done) throw new Error('The worker process ended.');
    return JSON.parse(line.value) as Answer;
  }

  /** The answer; a failure is thrown. */
  async does(ask: Ask): Promise<Answer> {
    const answer = await this.ask(ask);
    if (answer.failure !== undefined) throw new Error(`${answer.failure}: ${answer.message}`);
    return answer;
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exit = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exit;
  }
}
