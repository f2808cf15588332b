import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** Figures that a side answers with. */
export type Answer = Readonly<Record<string, number | string>>;

/** A measured process: takes a command at a time, a line each, and answers with a line of JSON. */
export class Side {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly #name: string;

  constructor(name: string, command: string, args: readonly string[]) {
    this.#name = name;
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    const { stdout, stdin } = this.#child;
    if (stdout === null || stdin === null) throw new Error('a child without pipes');
    // A child that died is noticed by the end of its answers.
    stdin.on('error', () => {});
    this.#answers = createInterface({ input: stdout })[Symbol.asyncIterator]();
  }

  async ask(...words: readonly (string | number)[]): Promise<Answer> {
    const command = words.join(' ');
    this.#child.stdin?.write(`${command}\n`);
    const { value, done } = await this.#answers.next();
    if (done) throw new Error(`${this.#name} ended at "${command}"; its messages are above.`);
    return JSON.parse(value) as Answer;
  }

  /** A figure of an answer. */
  async figure(name: string, ...words: readonly (string | number)[]): Promise<number> {
    const value = (await this.ask(...words))[name];
    if (typeof value !== 'number') throw new Error(`${this.#name} told no ${name}`);
    return value;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.stdin?.end();
    this.#child.kill('SIGKILL');
    await ended;
  }
}
