import { expect } from 'chai';
import { buildReport } from './build-report.ts';
import { compareReports, renderComparison } from './compare.ts';
import { recordingOf, recordOf } from './report.test-support.ts';
import type { ReplayReport } from './report.ts';
import {
  renderSweepJson,
  renderSweepTable,
  type SweepReport,
  sweepFigure,
  sweepReport,
  sweepSchemaName,
} from './sweep.ts';

function reportOf(factor: number): ReplayReport {
  const records = Array.from({ length: 50 }, (_, index) => {
    const { arrivalMs } = recordOf(index);
    return recordOf(index, { firstTokenMs: arrivalMs + 50 * factor, lastTokenMs: arrivalMs + 100 * factor });
  });
  return buildReport(recordingOf(records, { levels: { ttftMs: 75 } }));
}

const slow = { name: 'slow.json', report: reportOf(2) };
const fast = { name: 'fast.json', report: reportOf(1) };

describe('comparison of reports', () => {
  it('has ratios to the first', () => {
    const figures = compareReports([fast, slow]);
    const ttft = figures.find(({ figure }) => figure === 'Time to first token, p99 (ms)');
    expect(ttft).to.deep.equal({
      figure: 'Time to first token, p99 (ms)',
      better: 'less',
      values: [50, 100],
      ratios: [1, 2],
    });
    const goodput = figures.find(({ figure }) => figure === 'Goodput, % of requests');
    expect(goodput).to.include({ better: 'more' });
    expect(goodput?.values).to.deep.equal([100, 0]);
    expect(figures.find(({ figure }) => figure === 'Preemptions')).to.equal(undefined);
  });

  it('says which is better, whichever comes first', () => {
    expect(renderComparison([fast, slow])).to.match(/Time to first token, p50 \(ms\) +50 +100 +×2\.000 +worse/);
    expect(renderComparison([slow, fast])).to.match(/Time to first token, p50 \(ms\) +100 +50 +×0\.500 +better/);
    expect(renderComparison([slow, fast])).to.match(/Output tokens\/s per user +100 +200 +×2\.000 +better/);
    expect(renderComparison([slow, slow])).to.not.match(/better|worse/);
  });

  it('has no ratio to nothing', () => {
    const figures = compareReports([slow, fast]);
    expect(figures.find(({ figure }) => figure === 'Goodput, % of requests')?.ratios).to.deep.equal([null, null]);
  });

  it('needs two reports', () => {
    expect(() => compareReports([fast])).to.throw('Name two reports or more.');
  });
});

describe('a sweep', () => {
  const points = [
    { value: 1, report: reportOf(1) },
    { value: 8, report: reportOf(2) },
  ];
  const sweep: SweepReport = { schema: sweepSchemaName, over: 'concurrency', points };

  it('has a row and a point for each value', () => {
    const text = renderSweepTable(sweep, 140);
    expect(text)
      .to.match(/\n1 +[\d.,]+ /)
      .and.to.match(/\n8 +[\d.,]+ /);
    expect(text).to.include('concurrency').and.include('TTFT p99');
    expect(text).to.include('good requests/s');
    const plain = points.map(({ value, report }) => ({ value, report: { ...report, goodput: null } }));
    expect(renderSweepTable({ ...sweep, points: plain }, 140)).to.not.include('good requests/s');
    const [panel] = sweepFigure([{ name: 'kv', sweep }]).panels;
    const labels = panel?.kind === 'scatter' ? panel.series[0]?.points.map(({ label, x }) => [label, x]) : [];
    expect(labels).to.deep.equal([
      ['1', 200],
      ['8', 100],
    ]);
  });

  it('is JSON of its own form', () => {
    const text = renderSweepJson(sweep);
    expect(sweepReport.parse(JSON.parse(text))).to.deep.equal(sweep);
    expect(text).to.include('"schema": "stator.replay.sweep/v1"');
  });

  it('leaves out points at which nothing was completed', () => {
    const nothing = buildReport(recordingOf([]));
    const [panel] = sweepFigure([{ name: 'kv', sweep: { ...sweep, points: [{ value: 1, report: nothing }] } }]).panels;
    expect(panel?.kind === 'scatter' && panel.series[0]?.points).to.deep.equal([]);
  });
});
