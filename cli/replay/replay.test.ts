import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { parseReportJson } from '#sim/report/report-json.ts';
import { runStator } from '../stator.test-support.ts';
import { engineSettings, routingSettings } from './settings.ts';

const small = ['--synthetic', 'plain', '--request-count', '120', '--input-tokens', '600', '--output-tokens', '12'];
const shared = ['--num-prefix-groups', '4', '--shared-prefix-ratio', '0.8', '--trace-block-size', '64'];

describe('stator replay', function () {
  this.timeout(180_000);
  let folder = '';

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'stator-replay-'));
  });

  after(() => rm(folder, { recursive: true, force: true }));

  it('replays a trace, prints the table, writes the report and the plots', async () => {
    const trace = join(folder, 'trace.jsonl');
    const rows = Array.from({ length: 60 }, (_, at) =>
      JSON.stringify({
        timestamp: at * 50,
        input_length: 1100,
        output_length: 5,
        hash_ids: [at % 3, 100 + (at % 3), 1000 + at],
      }),
    );
    await writeFile(trace, `${rows.join('\n')}\n`);
    const json = join(folder, 'report.json');
    const plots = join(folder, 'plots');
    const args = [
      'replay',
      trace,
      '--num-workers',
      '3',
      '--sla-ttft-ms',
      '500',
      '--sla-itl-ms',
      '40',
      '--report-json',
      json,
      '--plots',
      plots,
    ];
    const { code, stdout, stderr } = await runStator(args);
    expect(code, stderr).to.equal(0);
    expect(stdout).to.include('Replay of trace.jsonl · virtual time · router kv');
    expect(stdout).to.include('60 of 60 requests completed').and.include('Goodput (TTFT ≤ 500 ms, ITL ≤ 40 ms)');
    const report = parseReportJson(await readFile(json, 'utf8'), json);
    expect(report.requests).to.include({ sent: 60, completed: 60 });
    expect(report.run).to.include({ trace: 'trace.jsonl', time: 'virtual', routerMode: 'kv', partial: false });
    expect(report.run.settings).to.deep.equal({ numWorkers: 3, slaTtftMs: 500, slaItlMs: 40 });
    expect(report.workers).to.have.length(3);
    // 57 of 60 prompts share their first two blocks of 512 tokens with one before them.
    expect(report.cache.tokenHitRate).to.be.within(0.7, 0.9);
    const files = ['hit-rate.svg', 'index.html', 'latency.svg', 'queue.svg', 'throughput.svg', 'workers.svg'];
    expect((await readdir(plots)).sort()).to.deep.equal(files);
    expect(await readFile(join(plots, 'index.html'), 'utf8'))
      .to.include('<svg ')
      .and.include('prefers-color-scheme');
  });

  it('writes the same bytes for the same seed and others for another', async () => {
    const args = ['replay', ...small, ...shared, '--report-json', '-'];
    const runs = await Promise.all([args, args, [...args, '--seed', '2']].map((each) => runStator(each)));
    const [first, second, other] = runs.map(({ stdout }) => stdout);
    expect(runs.map(({ code }) => code)).to.deep.equal([0, 0, 0]);
    expect(first).to.equal(second);
    expect(first).to.not.equal(other);
    expect(parseReportJson(first ?? '', 'first').requests.completed).to.equal(120);
  });

  it('takes settings of router and engine under their own names', async () => {
    const settings = [
      '--router-mode',
      'round-robin',
      '--engine-type',
      'trtllm',
      '--kv-blocks',
      '2000',
      '--overlap-credit',
      '2',
    ];
    const { code, stdout, stderr } = await runStator(['replay', ...small, ...settings, '--report-json', '-']);
    expect(code, stderr).to.equal(0);
    const { run, workers } = parseReportJson(stdout, 'report');
    expect(run.routerMode).to.equal('round-robin');
    expect(run.settings).to.include({ engineType: 'trtllm', kvBlocks: 2000, overlapCredit: 2 });
    expect(workers[0]).to.include({ blockSize: 32, totalBlocks: 2000 });
  });

  it('replays separate stages with engine settings of their own', async () => {
    const stages = [
      '--num-prefill-workers',
      '1',
      '--num-decode-workers',
      '2',
      '--decode-engine-args',
      '{"kvBlocks":4000}',
    ];
    const { code, stdout, stderr } = await runStator(['replay', ...small, ...stages, '--report-json', '-']);
    expect(code, stderr).to.equal(0);
    const { workers, requests } = parseReportJson(stdout, 'report');
    expect(requests.completed).to.equal(120);
    expect(workers.map(({ role, totalBlocks }) => [role, totalBlocks])).to.deep.equal([
      ['prefill', 16_384],
      ['decode', 4000],
      ['decode', 4000],
    ]);
  });

  it('sweeps and compares', async () => {
    const swept = await runStator([
      'replay',
      ...small,
      '--sweep',
      'concurrency=1,4',
      '--plots',
      join(folder, 'sweep'),
      '--plot-format',
      'png',
    ]);
    expect(swept.code, swept.stderr).to.equal(0);
    expect(swept.stdout)
      .to.match(/concurrency +requests\/s/)
      .and.to.match(/\n4 +[\d.]+ /);
    expect((await readFile(join(folder, 'sweep', 'pareto.png'))).subarray(1, 4).toString()).to.equal('PNG');
    const files = ['kv', 'round-robin'].map((mode) => join(folder, `${mode}.json`));
    for (const [at, mode] of ['kv', 'round-robin'].entries())
      await runStator(['replay', ...small, ...shared, '--router-mode', mode, '--report-json', files[at] ?? '']);
    const compared = await runStator(['replay', 'compare', ...files]);
    expect(compared.code, compared.stderr).to.equal(0);
    expect(compared.stdout)
      .to.include('Hit rate of tokens (%)')
      .and.match(/×\d\.\d{3}/);
    const json = await runStator(['replay', 'compare', '--json', ...files]);
    expect(JSON.parse(json.stdout)).to.have.property('reports').that.deep.equals(['kv', 'round-robin']);
  });

  it('shows a report again and compares sweeps in one plot', async () => {
    const report = join(folder, 'again.json');
    const first = await runStator(['replay', ...small, '--report-json', report]);
    const again = await runStator(['replay', 'show', report, '--plots', join(folder, 'again')]);
    expect(again.code, again.stderr).to.equal(0);
    expect(again.stdout).to.equal(first.stdout);
    expect(await readdir(join(folder, 'again'))).to.include('latency.svg');
    const sweeps = ['kv', 'random'].map((mode) => join(folder, `sweep-${mode}.json`));
    for (const [at, mode] of ['kv', 'random'].entries())
      await runStator([
        'replay',
        ...small,
        '--router-mode',
        mode,
        '--sweep',
        'concurrency=2,8',
        '--report-json',
        sweeps[at] ?? '',
      ]);
    const compared = await runStator(['replay', 'compare', ...sweeps, '--plots', join(folder, 'sweeps')]);
    expect(compared.code, compared.stderr).to.equal(0);
    const rows = compared.stdout.split('\n').map((line) => line.split(/ +/).slice(0, 2).join(' '));
    expect(rows.slice(2, 6)).to.deep.equal(['sweep-kv 2', 'sweep-random 2', 'sweep-kv 8', 'sweep-random 8']);
    const svg = await readFile(join(folder, 'sweeps', 'pareto.svg'), 'utf8');
    expect(svg.match(/<path class="line /g)).to.have.length(2);
    expect(svg).to.include('>sweep-random<');
    const mixed = await runStator(['replay', 'compare', report, ...sweeps]);
    expect(mixed).to.include({ code: 2 });
    expect(mixed.stderr).to.include('Only reports, or only sweeps over the same setting');
  });

  it('writes generated load as a trace, and replays it alike', async () => {
    const trace = join(folder, 'generated.jsonl');
    const written = await runStator(['replay', ...small, ...shared, '--generate', trace]);
    expect(written.code, written.stderr).to.equal(0);
    expect(written.stdout).to.equal(`120 requests, blocks of 64 tokens: ${trace}\n`);
    const of = async (args: readonly string[]): Promise<unknown> => {
      const { stdout } = await runStator(['replay', ...args, '--num-workers', '2', '--report-json', '-']);
      const { requests, timeToFirstTokenMs, cache } = parseReportJson(stdout, 'report');
      return { requests, timeToFirstTokenMs, cache };
    };
    expect(await of([trace, '--trace-block-size', '64'])).to.deep.equal(await of([...small, ...shared]));
  });

  it('replays on workers that differ', async () => {
    const file = join(folder, 'groups.json');
    await writeFile(file, '[{"count": 2, "kvBlocks": 500}, {"kvBlocks": 1000, "dataParallelSize": 2, "speedup": 2}]');
    const { code, stdout, stderr } = await runStator([
      'replay',
      ...small,
      '--worker-groups',
      file,
      '--report-json',
      '-',
    ]);
    expect(code, stderr).to.equal(0);
    const { workers, requests } = parseReportJson(stdout, 'report');
    expect(workers.map(({ totalBlocks }) => totalBlocks)).to.deep.equal([500, 500, 2000]);
    expect(requests).to.include({ completed: 120 });
  });

  const mistakes: readonly (readonly [readonly string[], string])[] = [
    [[], 'Name a trace, or generate load with --synthetic plain'],
    [['no-such-file'], 'The trace no-such-file cannot be read.'],
    [['trace', ...small], 'it takes no trace (trace)'],
    [['trace', '--generate', 'x'], 'The trace trace cannot be read.'],
    [[...small, '--generate', '/no/such/folder/x'], '/no/such/folder/x cannot be written'],
    [[...small, '--worker-groups', 'none'], 'the file none cannot be read.'],
    [[...small, '--worker-groups', '[{"role":"x"}]'], '--worker-groups[0]: role "x" is not one of aggregated'],
    [[...small, '--worker-groups', '[{"count":0}]'], '--worker-groups[0]: count 0 is not a whole number'],
    [[...small, '--worker-groups', '[{"kvBlock":9}]'], 'no setting "kvBlock". Did you mean kvBlocks?'],
    [[...small, '--worker-groups', '[{"role":"decode"}]'], 'Workers either do both stages'],
    [[...small, '--sweep', 'seed=1,2'], 'with a name of concurrency, num-workers, arrival-speedup-ratio'],
    [[...small, '--sweep', 'concurrency=1,x'], '--sweep: "x" is not a whole number'],
    [[...small, '--num-prefill-workers', '2'], '--num-prefill-workers and --num-decode-workers go together'],
    [[...small, '--decode-engine-args', '{}'], 'need --num-prefill-workers'],
    [[...small, '--router-mode', 'kb'], 'is not one of round-robin'],
    [[...small, '--online', 'localhost:1'], '--online: "localhost:1" is not an http:// or https:// URL'],
    [['compare', 'a.json'], 'The report a.json cannot be read.'],
  ];
  for (const [args, message] of mistakes) {
    it(`says what is wrong with "${args.slice(-2).join(' ')}" and ends with code 2`, async () => {
      const { code, stderr } = await runStator(['replay', ...args]);
      expect(stderr).to.include(message);
      expect(code).to.equal(2);
    });
  }

  it('names the line of a trace that is wrong', async () => {
    const trace = join(folder, 'wrong.jsonl');
    await writeFile(trace, '{"timestamp":0,"input_length":10,"output_length":1,"hash_ids":[1]}\n{"timestamp":1}\n');
    const { code, stderr } = await runStator(['replay', trace]);
    expect(code).to.equal(2);
    expect(stderr).to.include('wrong.jsonl, line 2, hash_ids: missing.');
  });

  it('has no name that means one thing for engines and another for routers', () => {
    const both = Object.keys(engineSettings).filter((name) => name in routingSettings);
    expect(both).to.deep.equal([]);
  });
});
