import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { toolFormats } from '#core/parsing/registry.ts';
import { decodeBytes } from '#gateway/testing/byte-tokenizer.ts';
import { startHarness } from '#gateway/testing/harness.ts';
import { answering, type ScriptedSequence, ScriptedWorker } from '#gateway/testing/scripted-worker.ts';
import { hermesCall, toolCard } from '#gateway/testing/tool-chats.ts';
import { runStator } from '../stator.test-support.ts';
import { probes } from './probes.ts';
import { builtInRecordings, probeRecording } from './recorded.ts';
import { changesSince, isRegression, type ProbeResult, parseSnapshot } from './snapshot.ts';
import { writers } from './writers.ts';

const weather = { city: 'Paris', unit: 'celsius' };

/** A model that says what each probe hopes for. */
function obedient(sequence: ScriptedSequence): void {
  const { request } = sequence;
  const prompt = decodeBytes(request.tokenIds);
  const guided = JSON.stringify(request.guided?.constraint ?? null);
  answering(`<think>Hm.</think>${said(prompt, guided)}`)(sequence);
}

function said(prompt: string, guided: string): string {
  const forced = JSON.stringify([{ name: 'get_weather', parameters: weather }]);
  if (guided.includes('parameters\\":{')) return forced;
  if (guided.includes('triggered_tags')) return hermesCall('get_weather', weather);
  if (guided.includes('city')) return JSON.stringify(weather);
  if (guided.includes('regex') && prompt.includes('year')) return '1999';
  if (guided.includes('const_string')) return 'yes';
  if (guided.includes('object')) return '{"a":1,"b":2}';
  if (prompt.includes('<tool>')) return 'It is sunny.';
  if (prompt.includes('Rome'))
    return `${hermesCall('get_weather', weather)}${hermesCall('get_weather', { ...weather, city: 'Rome' })}`;
  return prompt.includes('Use the tool') ? hermesCall('get_weather', weather) : 'Hello, 1 2 3 4 5 6.';
}

async function probed(worker: ScriptedWorker, args: readonly string[], card = toolCard()) {
  await using gateway = await startHarness();
  gateway.addWorker(1n, worker, card);
  const run = await runStator([
    'probe',
    '--url',
    gateway.url,
    '--no-recorded',
    '--json',
    '--fail-on',
    'never',
    ...args,
  ]);
  expect(run.code, run.stderr).to.equal(0);
  return parseSnapshot(run.stdout, 'stdout').results;
}

const failed = (results: readonly ProbeResult[]): string[] =>
  results.flatMap(({ probe, outcome, class: kind, detail }) =>
    outcome === 'pass' ? [] : [`${probe}: ${outcome} ${kind} ${detail}`],
  );

describe('stator probe', function () {
  // Each probe is a process.
  this.timeout(180_000);

  it('reads what models of every format write', () => {
    const known = new Set(writers.map(({ tool }) => tool));
    expect(toolFormats.filter(({ names }) => !known.has(names[0] ?? '')).map(({ names }) => names[0])).to.deep.equal(
      [],
    );
    expect(failed(builtInRecordings().flatMap(probeRecording))).to.deep.equal([]);
  });

  it('finds nothing wrong with a model that does as it is told', async () => {
    const results = await probed(new ScriptedWorker(obedient), []);
    expect(results).to.have.length(probes.length * 2);
    // It thinks whether or not that is wanted, and some constraints leave it nothing to call.
    const chosen = results.filter((result) => result.class !== 'model');
    expect(failed(chosen)).to.deep.equal([]);
    expect(results.filter(({ outcome }) => outcome === 'pass').length).to.be.greaterThan(probes.length * 1.6);
  });

  it('tells faults of parsers from choices of models', async () => {
    const leaking = await probed(
      new ScriptedWorker(answering('<tool_call>{"name": "x"}</tool_call>')),
      ['--only', '^call$'],
      toolCard({ toolCallParser: 'phi4' }),
    );
    expect(leaking.map((one) => one.class)).to.deep.equal(['leak', 'leak']);
    const silent = await probed(new ScriptedWorker(answering('No.')), ['--only', '^call$']);
    expect(silent.map((one) => one.class)).to.deep.equal(['model', 'model']);
    const wrong = await probed(new ScriptedWorker(answering('{"city":"Paris","unit":"kelvin"}')), [
      '--only',
      '^named$',
    ]);
    expect(wrong.map((one) => one.class)).to.deep.equal(['schema', 'schema']);
    const lost = await probed(new ScriptedWorker(answering('none')), ['--only', '^required$']);
    expect(lost.map((one) => one.class)).to.deep.equal(['arguments', 'arguments']);
    const broken = await probed(new ScriptedWorker((sequence) => sequence.fail('engine_failed', 'it broke', false)), [
      '--only',
      '^text$',
    ]);
    expect(broken.map((one) => one.class)).to.deep.equal(['server', 'server']);
    const slow = await probed(new ScriptedWorker(), ['--only', '^text$', '--timeout-seconds', '1']);
    expect(slow.map((one) => one.class)).to.deep.equal(['timeout', 'timeout']);
    const card = toolCard();
    if (card.capabilities !== undefined) card.capabilities.guidedModes = [];
    const unable = await probed(new ScriptedWorker(answering('never')), ['--only', '^named$'], card);
    expect(unable.map(({ outcome, detail }) => [outcome, detail.split(':')[0]])).to.deep.equal([
      ['unsupported', 'tool_choice'],
      ['unsupported', 'tool_choice'],
    ]);
  });

  it('compares snapshots and ends with what it was asked to fail on', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'stator-probe-'));
    try {
      const [before, recordings] = [join(directory, 'before.json'), join(directory, 'recordings.json')];
      const recording = {
        name: 'my call',
        toolParser: 'hermes',
        tools: [{ name: 'f' }],
        text: hermesCall('f', { a: 1 }),
        calls: [{ name: 'f', arguments: { a: 1 } }],
      };
      await writeFile(recordings, JSON.stringify([recording]));
      const good = await runStator(['probe', '--only', 'my call', '--recording', recordings, '-o', before]);
      expect(good).to.include({ code: 0 });
      expect(good.stdout).to.match(/hermes\+none +2\/2 +2\/2/);
      await writeFile(recordings, JSON.stringify([{ ...recording, calls: [] }]));
      const worse = await runStator([
        'probe',
        '--only',
        'my call',
        '--recording',
        recordings,
        '--baseline',
        before,
        '--fail-on',
        'regression',
      ]);
      expect(worse).to.include({ code: 1 });
      expect(worse.stdout).to.include('worse  pass → fail').and.to.include('1 calls instead of 0');
      expect((await runStator(['probe', '--only', 'my call', '--recording', recordings])).code).to.equal(1);
      expect((await runStator(['probe', '--baseline', recordings])).code).to.equal(2);
      const snapshot = parseSnapshot(await readFile(before, 'utf8'), before);
      const changed = { ...snapshot, results: snapshot.results.map((one) => ({ ...one, outcome: 'fail' as const })) };
      expect(changesSince(snapshot, changed).every(isRegression)).to.equal(true);
      expect(changesSince(changed, snapshot).some(isRegression)).to.equal(false);
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});
