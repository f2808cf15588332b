import { expect } from 'chai';
import { parseMetrics, sumOf } from './metrics-text.ts';

const page = `# HELP stator_requests_total Requests.
# TYPE stator_requests_total counter
stator_requests_total{model="a\\"b",status="ok"} 3
stator_requests_total{model="c",status="ok"} 4
# HELP stator_seconds Time.
# TYPE stator_seconds histogram
stator_seconds_bucket{le="0.1"} 1
stator_seconds_bucket{le="+Inf"} 2
stator_seconds_sum 0.5
stator_seconds_count 2
`;

describe('parseMetrics', () => {
  it('reads names, labels and values', () => {
    const samples = parseMetrics(page);
    expect(samples).to.have.length(6);
    expect(samples[0]).to.deep.equal({
      name: 'stator_requests_total',
      labels: { model: 'a\\"b', status: 'ok' },
      value: 3,
    });
    expect(sumOf(samples, 'stator_requests_total')).to.equal(7);
    expect(sumOf(samples, 'stator_requests_total', { model: 'c' })).to.equal(4);
  });

  for (const [fault, text, says] of [
    ['a sample without type', 'stator_x 1\n', /no TYPE/],
    ['a sample twice', `${page}stator_seconds_sum 1\n`, /second sample/],
    ['a type twice', `${page}# TYPE stator_seconds gauge\n`, /second TYPE/],
    ['a counter that is no _total', '# HELP stator_x X.\n# TYPE stator_x counter\nstator_x 1\n', /lacks _total/],
    ['a negative counter', '# HELP stator_x_total X.\n# TYPE stator_x_total counter\nstator_x_total -1\n', /is -1/],
    ['no line feed at the end', page.trimEnd(), /line feed/],
    ['bad labels', '# HELP a A.\n# TYPE a gauge\na{b=c} 1\n', /bad labels/],
    ['a value that is no number', '# HELP a A.\n# TYPE a gauge\na one\n', /not a sample/],
    ['a type that does not exist', '# TYPE a thing\n', /unknown type/],
  ] as const) {
    it(`refuses ${fault}`, () => {
      expect(() => parseMetrics(text)).to.throw(says);
    });
  }
});
