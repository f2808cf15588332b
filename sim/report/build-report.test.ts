import { expect } from 'chai';
import { buildReport } from './build-report.ts';
import { spanFor } from './build-timeline.ts';
import { imbalanceOf, quantile } from './quantiles.ts';
import { ReplayRecorder } from './recorder.ts';
import { recordingOf, recordOf, runOf, sampleOf, workerOf } from './report.test-support.ts';
import { parseReportJson, renderReportJson } from './report-json.ts';
import { SampleColumns } from './sample-columns.ts';

const hundred = Array.from({ length: 100 }, (_, index) => recordOf(index));

describe('buildReport', () => {
  it('reports latencies, throughput and hit rates of what was completed', () => {
    const report = buildReport(recordingOf(hundred));
    expect(report.requests).to.deep.equal({ sent: 100, completed: 100, rejected: 0, failed: 0, sampled: 100 });
    expect(report.durationMs).to.equal(990 + 100);
    expect(report.timeToFirstTokenMs).to.include({ count: 100, avg: 50, min: 50, max: 50, p99: 50 });
    expect(report.interTokenLatencyMs).to.include({ avg: 5, p50: 5 });
    expect(report.requestLatencyMs).to.include({ avg: 100, p90: 100 });
    expect(report.outputTokensPerSecondPerUser.p50).to.equal(200);
    expect(report.routerWaitMs.avg).to.equal(1);
    expect(report.engineWaitMs.avg).to.equal(2);
    expect(report.throughput.requestsPerSecond).to.be.closeTo(100 / 1.09, 1e-6);
    expect(report.throughput.outputTokensPerSecondPerWorker).to.be.closeTo(1100 / 1.09 / 2, 1e-6);
    expect(report.cache).to.deep.equal({
      promptTokens: 10_000,
      cachedTokens: 4000,
      tokenHitRate: 0.4,
      promptBlocks: 600,
      cachedBlocks: 200,
      blockHitRate: 0.333333333,
    });
  });

  it('counts refusals and failures and leaves them out of latencies', () => {
    const nowhere = {
      firstTokenMs: Number.NaN,
      lastTokenMs: Number.NaN,
      worker: -1,
      prefillWorker: -1,
      outputTokens: 0,
    };
    const recorder = recordingOf([
      ...hundred.slice(0, 8),
      recordOf(8, { ...nowhere, outcome: 1 }),
      recordOf(9, { lastTokenMs: 5000, outcome: 2 }),
    ]);
    recorder.error('overloaded');
    const report = buildReport(recorder);
    expect(report.requests).to.include({ sent: 10, completed: 8, rejected: 1, failed: 1 });
    expect(report.requestLatencyMs).to.include({ count: 8, max: 100 });
    expect(report.errors).to.deep.equal([{ code: 'overloaded', count: 1 }]);
    expect(report.workers.map(({ requests }) => requests)).to.deep.equal([4, 4]);
  });

  it('counts as good what keeps every bound; a single token has no time between tokens', () => {
    const records = [
      recordOf(0),
      recordOf(1, { firstTokenMs: 10 + 61 }),
      recordOf(2, { lastTokenMs: 20 + 50 + 110 }),
      recordOf(3, { lastTokenMs: 30 + 50, outputTokens: 1 }),
    ];
    const report = buildReport(recordingOf(records, { levels: { ttftMs: 60, itlMs: 10 } }));
    expect(report.goodput).to.include({ timeToFirstTokenMs: 60, requestLatencyMs: null, requests: 2, share: 0.5 });
    expect(buildReport(recordingOf(records)).goodput).to.equal(null);
  });

  it('bounds the latency of whole requests, and counts goodput of all that were sent', () => {
    const records = [recordOf(0), recordOf(1, { lastTokenMs: 10 + 101 }), recordOf(2, { outcome: 1 })];
    const { goodput } = buildReport(recordingOf(records, { levels: { e2eMs: 100 } }));
    expect(goodput).to.include({ requests: 1, share: 0.333333333, requestLatencyMs: 100, timeToFirstTokenMs: null });
  });

  it('leaves requests of one token out of the time between tokens', () => {
    const records = hundred.map((record) => (record.index % 2 === 0 ? record : { ...record, outputTokens: 1 }));
    const report = buildReport(recordingOf(records));
    expect(report.interTokenLatencyMs).to.include({ count: 50, avg: 5, p50: 5, p99: 5, max: 5 });
    expect(report.longestGapMs).to.include({ count: 50, max: 9 });
    expect(report.timeToFirstTokenMs.count).to.equal(100);
  });

  it('counts preemptions, in all and where the output was made', () => {
    const report = buildReport(
      recordingOf([recordOf(0, { preemptions: 2 }), recordOf(1), recordOf(3, { preemptions: 1 })]),
    );
    expect(report.preemptions).to.equal(3);
    expect(report.workers.map(({ preemptions }) => preemptions)).to.deep.equal([2, 1]);
  });

  it('counts blocks of the size that the prompt was computed with', () => {
    const workers = [workerOf('p0', 'prefill'), { ...workerOf('d0', 'decode'), blockSize: 50 }];
    const report = buildReport(
      recordingOf([recordOf(0, { prefillWorker: 0, worker: 1 })], { run: runOf({ workers }) }),
    );
    expect(report.cache).to.include({ promptBlocks: 6, cachedBlocks: 2 });
  });

  it('ends an interrupted replay with what was heard last', () => {
    const recorder = new ReplayRecorder();
    expect(recorder.interrupt()).to.equal(false);
    recorder.begin(runOf());
    recorder.request(recordOf(0));
    recorder.sample(sampleOf(150));
    expect(recorder.interrupt()).to.equal(true);
    const report = buildReport(recorder, { partial: true });
    expect(report.durationMs).to.equal(150);
    expect(report.run.partial).to.equal(true);
  });

  it('lists errors, the most frequent first', () => {
    const recorder = recordingOf(hundred);
    for (const code of ['a', 'b', 'c', 'c', 'b', 'c']) recorder.error(code);
    expect(buildReport(recorder).errors.map(({ code, count }) => `${code}${count}`)).to.deep.equal(['c3', 'b2', 'a1']);
  });

  it('tells the load of workers, and of idle moments nothing', () => {
    const recorder = recordingOf([]);
    const idle = { running: Float64Array.of(0, 0), usedBlocks: Float64Array.of(0, 0) };
    for (const atMs of [10, 11]) recorder.sample(sampleOf(atMs, idle));
    const { workers, balance } = buildReport(recorder);
    expect(workers.map(({ running, usedBlocks }) => [running, usedBlocks])).to.deep.equal([
      [1, 0.166666667],
      [0.333333333, 0.0833333333],
    ]);
    expect(balance[0]?.momentary).to.deep.equal({ maxOverMean: 1.5, variation: 0.5 });
  });

  it('knows the load of workers whose queue nobody sees', () => {
    const recorder = recordingOf(hundred.slice(0, 2));
    const unseen = { waiting: Float64Array.of(Number.NaN, Number.NaN), queued: Number.NaN };
    const blind = new ReplayRecorder();
    blind.begin(runOf({ time: 'real' }));
    for (const { atMs } of recorder.samples.kept) blind.sample(sampleOf(atMs, unseen));
    blind.end(recorder.endMs);
    const { timeline, workers, balance } = buildReport(blind);
    expect(timeline.workerLoad.map(([first]) => first)).to.deep.equal([3, 1]);
    expect([timeline.queued[0], timeline.waiting[0], workers[0]?.waiting]).to.deep.equal([null, null, null]);
    expect(balance[0]?.momentary.maxOverMean).to.equal(1.5);
  });

  it('tells imbalance for each role and counts a request at both of its stages', () => {
    const run = runOf({ workers: [workerOf('p0', 'prefill'), workerOf('d0', 'decode'), workerOf('d1', 'decode')] });
    const records = hundred
      .slice(0, 4)
      .map((record) => ({ ...record, prefillWorker: 0, worker: record.index === 0 ? 1 : 2 }));
    const report = buildReport(recordingOf(records, { run }));
    expect(
      report.workers.map(({ requests, promptTokens, outputTokens }) => [requests, promptTokens, outputTokens]),
    ).to.deep.equal([
      [4, 400, 0],
      [1, 0, 11],
      [3, 0, 33],
    ]);
    expect(report.balance.map(({ role, outputTokens }) => [role, outputTokens.maxOverMean])).to.deep.equal([
      ['prefill', null],
      ['decode', 1.5],
    ]);
    expect(report.throughput.outputTokensPerSecondPerWorker).to.be.closeTo(44_000 / (report.durationMs ?? 0) / 2, 1e-6);
  });

  it('follows the replay in spans that add up to the whole', () => {
    const { timeline, requests } = buildReport(recordingOf(hundred));
    expect(timeline.spanMs).to.equal(20);
    expect(timeline.endMs).to.equal(1090);
    expect(timeline.arrived).to.have.length(55);
    const seconds = timeline.arrived.map((_, at) => (at === 54 ? 10 : 20) / 1000);
    const arrived = timeline.arrived.reduce<number>((sum, rate, at) => sum + (rate ?? 0) * (seconds[at] ?? 0), 0);
    expect(arrived).to.be.closeTo(requests.sent, 1e-6);
    expect(timeline.timeToFirstTokenMs.p90[0]).to.equal(50);
    expect(timeline.timeToFirstTokenMs.p90[54]).to.equal(null);
    expect(timeline.hitRate[0]).to.equal(0.4);
    expect(timeline.workerLoad.map(([first]) => first)).to.deep.equal([3, 1]);
    expect(timeline.queued[0]).to.equal(2);
  });

  it('counts what ended by its end, in a last span that is shorter or longer', () => {
    const ending = (lastTokenMs: number) =>
      buildReport(recordingOf([recordOf(0, { arrivalMs: 0, firstTokenMs: 100, lastTokenMs })])).timeline;
    const shorter = ending(1012);
    expect(shorter).to.include({ spanMs: 20, endMs: 1012 });
    expect(shorter.completed).to.have.length(51);
    // One request and 11 tokens in 12 ms.
    expect(shorter.completed.at(-1)).to.equal(83.3333333);
    expect(shorter.outputTokens.at(-1)).to.equal(916.666667);
    expect([shorter.completed[0], shorter.arrived[0]]).to.deep.equal([0, 50]);
    const longer = ending(1005);
    expect(longer.completed).to.have.length(50);
    expect(longer.completed.at(-1)).to.equal(40);
  });

  it('fills spans without samples with the last one, and scales a sample of requests to all', () => {
    const recorder = new ReplayRecorder({ maxRecords: 50 });
    recorder.begin(runOf());
    for (const record of hundred) recorder.request(record);
    recorder.sample(sampleOf(0, { queued: 7 }));
    recorder.end(1090);
    const { timeline, requests } = buildReport(recorder);
    expect(timeline.queued.at(-1)).to.equal(7);
    expect(requests.sampled).to.equal(50);
    const arrived = timeline.arrived.reduce<number>((sum, rate) => sum + ((rate ?? 0) * 20) / 1000, 0);
    expect(arrived).to.be.closeTo(100, 1e-6);
  });

  it('keeps sums exact where requests are a sample', () => {
    const report = buildReport(recordingOf(hundred, { maxRecords: 10 }));
    expect(report.requests).to.include({ sent: 100, completed: 100, sampled: 10 });
    expect(report.timeToFirstTokenMs).to.include({ count: 100, p50: 50 });
    expect(report.cache.promptTokens).to.equal(10_000);
  });

  it('reports a replay of nothing', () => {
    const report = buildReport(recordingOf([]));
    expect(report.durationMs).to.equal(null);
    expect(report.timeToFirstTokenMs).to.include({ count: 0, p99: null });
    expect(parseReportJson(renderReportJson(report), 'r')).to.deep.equal(report);
  });
});

describe('report JSON', () => {
  it('is the same text for the same recording and survives reading', () => {
    const settings = { workers: 2, arrivals: 'poisson' };
    const text = renderReportJson(buildReport(recordingOf(hundred), { settings }));
    expect(
      renderReportJson(buildReport(recordingOf(hundred), { settings: { arrivals: 'poisson', workers: 2 } })),
    ).to.equal(text);
    expect(renderReportJson(parseReportJson(text, 'r'))).to.equal(text);
  });

  it('refuses what is no report and names the field', () => {
    const report = buildReport(recordingOf(hundred));
    expect(() => parseReportJson('{', 'a.json')).to.throw('a.json is not JSON');
    expect(() => parseReportJson('{"schema": "x/v1"}', 'a.json')).to.throw(
      'a.json is no report of this release: its schema is not stator.replay.report/v1 or',
    );
    const broken = JSON.stringify({ ...report, cache: { ...report.cache, tokenHitRate: 'x' } });
    expect(() => parseReportJson(broken, 'a.json')).to.throw('a.json: cache.tokenHitRate: ');
  });
});

describe('figures', () => {
  it('interpolates quantiles as NumPy does', () => {
    const values = Float64Array.of(1, 2, 3, 4);
    expect([0, 0.25, 0.5, 0.9, 1].map((share) => quantile(values, share))).to.deep.equal([1, 1.75, 2.5, 3.7, 4]);
    expect(quantile(new Float64Array(0), 0.5)).to.be.NaN;
  });

  it('measures imbalance', () => {
    expect(imbalanceOf([2, 2, 2])).to.deep.equal({ maxOverMean: 1, variation: 0 });
    expect(imbalanceOf([0, 4])).to.deep.equal({ maxOverMean: 2, variation: 1 });
    expect(imbalanceOf([]).variation).to.be.NaN;
  });

  it('chooses round spans', () => {
    expect([1, 60, 61, 3000, 3_600_000].map(spanFor)).to.deep.equal([1, 1, 2, 50, 100_000]);
  });

  it('keeps the mean of samples when it has no room for each', () => {
    const samples = new SampleColumns(8);
    for (let at = 0; at < 1000; at++) samples.add(sampleOf(at, { queued: at }));
    expect(samples.kept.length).to.be.within(4, 8);
    const weights = samples.kept.map(({ queued, atMs }) => Math.abs(queued - atMs));
    expect(Math.max(...weights)).to.be.lessThan(1e-6);
    expect(samples.kept[0]?.queued).to.be.closeTo(63.5, 1e-6);
  });
});
