import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';

const fixture = join(import.meta.dirname, 'run.fixture.ts');
const nodeFlags = ['--conditions=source', '--disable-warning=ExperimentalWarning'];
const baseFlags = ['--discovery', 'memory:', '--log-format', 'json'];

/** Longer than the time within which two signals count as one. */
const BETWEEN_SIGNALS_MS = 400;

class Fixture {
  readonly child: ChildProcess;
  output = '';
  readonly exit: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;

  constructor(child: ChildProcess, endEvent: 'close' | 'exit' = 'close') {
    this.child = child;
    const take = (chunk: Buffer): void => {
      this.output += chunk.toString();
    };
    child.stdout?.on('data', take);
    child.stderr?.on('data', take);
    this.exit = once(child, endEvent).then(([code, signal]) => ({ code, signal }));
  }

  async printed(text: string): Promise<void> {
    while (!this.output.includes(text)) {
      if (this.child.exitCode !== null) throw new Error(`it ended without printing ${text}:\n${this.output}`);
      await delay(10);
    }
  }
}

function start(...flags: string[]): Fixture {
  return new Fixture(
    spawn(process.execPath, [...nodeFlags, fixture, ...baseFlags, ...flags], { stdio: ['ignore', 'pipe', 'pipe'] }),
  );
}

describe('runMain', function () {
  // Processes start slowly on a busy machine.
  this.timeout(180_000);

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    it(`stops in order and ends with 0 after ${signal}`, async () => {
      const fixture = start();
      await fixture.printed('ready');
      fixture.child.kill(signal);
      expect(await fixture.exit).to.deep.equal({ code: 0, signal: null });
      expect(fixture.output).to.include('stopping true').and.include('stopped');
    });
  }

  it('ends at once with 130 after a second Ctrl-C', async () => {
    const fixture = start('--stop-ms', '60000');
    await fixture.printed('ready');
    fixture.child.kill('SIGINT');
    await fixture.printed('stopping');
    await delay(BETWEEN_SIGNALS_MS);
    fixture.child.kill('SIGINT');
    expect(await fixture.exit).to.deep.equal({ code: 130, signal: null });
    expect(fixture.output).not.to.include('stopped');
  });

  it('takes a signal that comes twice at once as one', async () => {
    const fixture = start('--stop-ms', '50');
    await fixture.printed('ready');
    fixture.child.kill('SIGINT');
    fixture.child.kill('SIGINT');
    expect(await fixture.exit).to.deep.equal({ code: 0, signal: null });
  });

  it('stops when the process that supervises it is gone', async () => {
    const stdio = ['ignore', 'pipe', 'pipe', 'ipc'] as const;
    const child = fork(fixture, [...baseFlags], { execArgv: nodeFlags, stdio: [...stdio] });
    // After disconnect() Node emits no `close`.
    const supervised = new Fixture(child, 'exit');
    await supervised.printed('ready');
    child.disconnect();
    expect(await supervised.exit).to.deep.equal({ code: 0, signal: null });
  });

  it('gives each kind of failure its exit code', async () => {
    const code = async (...flags: string[]): Promise<number | null> => (await start(...flags).exit).code;
    const codes = await Promise.all([
      code('--failure', 'start'),
      code('--failure', 'system'),
      code('--failure', 'usage'),
      code('--failure', 'later'),
      code('--failure', 'uncaught'),
      code('--failre', 'start'),
      code('--help'),
      code('--print-config'),
    ]);
    expect(codes).to.deep.equal([1, 1, 2, 1, 70, 2, 0, 0]);
  });

  it('says what was wrong with the settings, and how to find out more', async () => {
    const fixture = start('--failre', 'start');
    await fixture.exit;
    expect(fixture.output).to.equal(
      'stator fixture: Unknown setting --failre. Did you mean --failure?\nTry: stator fixture --help\n',
    );
  });

  it('ends although a handle was forgotten', async () => {
    const fixture = start('--hold');
    await fixture.printed('ready');
    fixture.child.kill('SIGTERM');
    expect(await fixture.exit).to.deep.equal({ code: 0, signal: null });
    expect(fixture.output).to.include('stopped');
  });
});
