import { expect } from 'chai';
import { buildReport } from './build-report.ts';
import { recordingOf, recordOf, runOf, workerOf } from './report.test-support.ts';
import { decimal, renderTable } from './table.ts';

const report = buildReport(
  recordingOf(
    Array.from({ length: 100 }, (_, index) => recordOf(index)),
    { levels: { ttftMs: 60 } },
  ),
);

describe('the table of a report', () => {
  it('has the figures of the report', () => {
    const text = renderTable(report);
    expect(text).to.match(
      /^Replay of test.jsonl · virtual time · router kv · seed 1\n100 of 100 requests completed in 1.09 s\n/,
    );
    expect(text).to.match(/Time to first token \(ms\) +50\.00 +50\.00/);
    expect(text).to.match(/Inter-token latency, TPOT \(ms\) +5\.00/);
    expect(text).to.include('Prefix cache hit rate').and.include('40.0 % of prompt tokens, 33.3 % of blocks');
    expect(text).to.match(/Goodput \(TTFT ≤ 60 ms\) +91\.74 requests\/s \(100\.0 % of those sent\)/);
    expect(text).to.match(/w0 +50 /);
    expect(text).to.not.include('NaN').and.not.include('undefined');
  });

  for (const width of [60, 80, 100, 140]) {
    it(`fits ${width} columns`, () => {
      const [, ...lines] = renderTable(report, width).split('\n');
      expect(Math.max(...lines.map((line) => line.length))).to.be.at.most(width);
    });
  }

  it('leaves out figures that matter less where there is no room', () => {
    const heads = [60, 80, 100, 140].map((width) =>
      renderTable(report, width).split('\n')[3]?.trim().split(/ +/).join(' '),
    );
    expect(heads[3]).to.equal('avg min max p50 p75 p90 p95 p99');
    expect(heads[0]).to.equal('avg p50 p99');
    for (const head of heads) expect(head).to.match(/p50.* p99$/);
  });

  it('says of a replay of nothing that there was nothing', () => {
    const text = renderTable(buildReport(recordingOf([])));
    expect(text).to.include('0 of 0 requests completed in –');
    expect(text).to.match(/Request throughput +– requests\/s/);
    expect(text).to.not.match(/NaN|Infinity|undefined|null/);
  });

  it('lists errors', () => {
    const recorder = recordingOf([recordOf(0), recordOf(1, { outcome: 2 }), recordOf(2, { outcome: 1 })]);
    for (const code of ['overloaded', 'connection_lost']) recorder.error(code);
    const text = renderTable(buildReport(recorder, { partial: true }));
    expect(text).to.include('1 of 3 requests completed').and.include('1 rejected, 1 failed');
    expect(text)
      .to.include('· interrupted')
      .and.match(/Errors\n +1 {2}connection_lost\n +1 {2}overloaded\n/);
  });

  it('shows of many workers the busiest and the idlest', () => {
    const workers = Array.from({ length: 40 }, (_, at) => workerOf(`w${at}`));
    const records = Array.from({ length: 820 }, (_, index) =>
      recordOf(index, { worker: Math.floor(Math.sqrt(index * 2)) % 40 }),
    );
    const text = renderTable(buildReport(recordingOf(records, { run: runOf({ workers }) })));
    expect(text).to.include('24 workers between the busiest and the idlest are not shown.');
    expect(text.match(/^w\d+ /gm)).to.have.length(16);
    expect(text).to.match(/^w39 /m).and.match(/^w0 /m);
  });

  it('has columns that line up', () => {
    const rows = renderTable(report)
      .split('\n')
      .filter((line) => line.includes('(ms)') && line.includes('.00'));
    expect(new Set(rows.map((row) => row.length)).size).to.equal(1);
  });

  it('groups thousands before the point only', () => {
    expect([1234567.891, 999, 0.12345, null].map(decimal)).to.deep.equal(['1,234,567.89', '999.00', '0.12', '–']);
  });
});
