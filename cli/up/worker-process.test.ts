import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { pino } from 'pino';
import { WorkerProcess } from './worker-process.ts';

describe('WorkerProcess', function () {
  this.timeout(180_000);
  let folder: string;
  let records: { msg: string; level: number }[];
  let workers: WorkerProcess[];
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stator-worker-'));
    records = [];
    workers = [];
  });
  afterEach(async () => {
    await Promise.all(workers.map((worker) => worker.stop(0)));
    await rm(folder, { recursive: true });
  });

  function start(script: string, options: { maxRestarts?: number; onRestart?: () => void } = {}): WorkerProcess {
    const log = pino({ level: 'trace' }, { write: (line) => void records.push(JSON.parse(line)) });
    const worker = new WorkerProcess({
      name: 'worker-0',
      command: [process.execPath, '-e', script],
      env: { HOME: folder },
      logFile: join(folder, 'worker-0.log'),
      log,
      maxRestarts: options.maxRestarts ?? 3,
      firstBackoffMs: 1,
      ...(options.onRestart === undefined ? {} : { onRestart: options.onRestart }),
    });
    workers.push(worker);
    return worker;
  }

  async function logged(text: string): Promise<void> {
    while (!records.some(({ msg }) => msg.includes(text))) await delay(10);
  }

  async function reason(worker: WorkerProcess): Promise<string> {
    return worker.givenUp.catch((error: Error) => error.message);
  }

  it('gives up at once on a worker that never was ready, and shows what it printed', async () => {
    const worker = start(`console.error('libengine: cannot open'); process.exitCode = 3`);
    const report = await reason(worker);
    expect(report).to.include('worker-0 ended with code 3').and.include('libengine: cannot open').and.include(folder);
    expect(await readFile(join(folder, 'worker-0.log'), 'utf8')).to.equal('libengine: cannot open\n');
  });

  it('starts a crashed worker again, and gives up when it keeps crashing', async () => {
    let restarts = 0;
    // It crashes once it is said to be ready.
    const ready = join(folder, 'ready');
    const script = `console.log('up'); setInterval(() => { if (require('fs').existsSync(process.env.HOME + '/ready')) process.abort(); }, 10)`;
    const worker = start(script, {
      maxRestarts: 2,
      onRestart: () => restarts++,
    });
    await logged('up');
    worker.markReady();
    await writeFile(ready, '');
    expect(await reason(worker)).to.include('was ended by SIGABRT');
    expect(restarts).to.equal(2);
    expect(records.filter(({ msg }) => msg.includes('worker crashed; restarting'))).to.have.length(2);
  });

  it("repeats the worker's log records with their level, and takes the rest for chatter", async () => {
    start(
      `console.log(JSON.stringify({ level: 40, msg: 'careful', service: 'x' })); console.log('noise'); setInterval(() => {}, 1000)`,
    );
    await logged('noise');
    expect(records.find(({ msg }) => msg === 'careful')).to.include({ level: 40 });
    expect(records.find(({ msg }) => msg === 'noise')).to.include({ level: 20 });
  });

  it('lets it drain, then kills it', async () => {
    const willing = start(
      `process.on('SIGTERM', () => { console.log('drained'); process.exit(0); }); setInterval(() => {}, 1000); console.log('up')`,
    );
    await logged('up');
    await willing.stop(60_000);
    await logged('drained');
    records = [];
    const stubborn = start(`process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); console.log('up')`);
    await logged('up');
    const { pid } = stubborn;
    await stubborn.stop(50);
    expect(() => process.kill(pid ?? -1, 0)).to.throw('ESRCH');
  });
});
