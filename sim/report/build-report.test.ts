import { expect } from 'chai';
import { buildReport } from './build-report.ts';
import { spanFor } from './build-timeline.ts';
import { imbalanceOf, quantile } from './quantiles.ts';
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
    expect(timeline.arrived).to.have.length(55);
    const seconds = timeline.arrived.map((_, at) => Math.min(20, 1090 - at * 20) / 1000);
    const arrived = timeline.arrived.reduce<number>((sum, rate, at) => sum + (rate ?? 0) * (seconds[at] ?? 0), 0);
    expect(arrived).to.be.closeTo(requests.sent, 1e-6);
    expect(timeline.timeToFirstTokenMs.p90[0]).to.equal(50);
    expect(timeline.timeToFirstTokenMs.p90[54]).to.equal(null);
    expect(timeline.hitRate[0]).to.equal(0.4);
    expect(timeline.workerLoad.map(([first]) => first)).to.deep.equal([3, 1]);
    expect(timeline.queued[0]).to.equal(2);
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
