import { expect } from 'chai';
import { buildReport } from '../build-report.ts';
import { recordingOf, recordOf, runOf, workerOf } from '../report.test-support.ts';
import type { ReplayReport } from '../report.ts';
import { axisFromZero, logAxis, scaleOf, shortNumber, timeAxis } from './axes.ts';
import type { Figure } from './figure.ts';
import { bottomAxis } from './frame.ts';
import { renderPage } from './html.ts';
import { renderPng } from './png.ts';
import { renderSvg } from './render.ts';
import { reportFigures } from './report-figures.ts';
import { coordinate, escapeText, fitted, textWidth } from './svg.ts';
import { paretoFigure } from './sweep-figure.ts';
import { themes } from './theme.ts';

function reportOf(trace = 'test.jsonl', workers = 3): ReplayReport {
  const run = runOf({ trace, workers: Array.from({ length: workers }, (_, at) => workerOf(`w${at}`)) });
  return buildReport(
    recordingOf(
      Array.from({ length: 200 }, (_, index) => recordOf(index)),
      { run },
    ),
  );
}

const pareto = paretoFigure(
  ['kv', 'round-robin'].map((name, at) => ({
    name,
    points: [1, 2, 4, 8].map((load) => ({
      outputTokensPerSecondPerUser: 100 - load * (5 + at),
      outputTokensPerSecondPerWorker: load * 20,
      label: String(load),
    })),
  })),
  'concurrency',
  'test.jsonl',
);
const figures = [...reportFigures(reportOf()), pareto];

function svgOf(name: string, theme: (typeof themes)[number] = 'light'): string {
  return renderSvg(figures.find((figure) => figure.name === name) as Figure, theme);
}

function countOf(svg: string, pattern: RegExp): number {
  return svg.match(pattern)?.length ?? 0;
}

/** Every text of a plot as a box. */
function textBoxes(
  svg: string,
): { readonly content: string; readonly left: number; readonly right: number; readonly y: number }[] {
  return [...svg.matchAll(/<text x="([\d.-]+)" y="([\d.-]+)" class="\w+"(?: text-anchor="(\w+)")?>([^<]*)</g)].map(
    (match) => {
      const [, x = '', y = '', anchor = 'start', content = ''] = match;
      // Narrower than what the layout reckons with: two texts that nearly touch do not overlap.
      const width = textWidth(content, 11);
      const left = Number(x) - (anchor === 'end' ? width : anchor === 'middle' ? width / 2 : 0);
      return { content, left, right: left + width, y: Number(y) };
    },
  );
}

/** Pairs of texts that cover each other. */
function overlaps(boxes: ReturnType<typeof textBoxes>): string[] {
  return boxes.flatMap((one, at) =>
    boxes
      .slice(at + 1)
      .filter((two) => Math.abs(one.y - two.y) < 11 && one.right > two.left && two.right > one.left)
      .map((two) => `"${one.content}" over "${two.content}"`),
  );
}

describe('plots of a report', () => {
  it('are those that the console promises', () => {
    expect(figures.map(({ name }) => name)).to.deep.equal([
      'latency',
      'throughput',
      'queue',
      'hit-rate',
      'workers',
      'pareto',
    ]);
  });

  it('have every series, once', () => {
    expect(countOf(svgOf('latency'), /<path class="line p(50|90|99)"/g)).to.equal(9);
    expect(countOf(svgOf('throughput'), /<path class="line /g)).to.equal(3);
    expect(countOf(svgOf('queue'), /<path class="line /g)).to.equal(3);
    expect(countOf(svgOf('hit-rate'), /<path class="line /g)).to.equal(1);
    expect(countOf(svgOf('workers'), />w\d</g)).to.equal(3);
    expect(countOf(svgOf('pareto'), /<path class="line /g)).to.equal(2);
    expect(countOf(svgOf('pareto'), /<circle class="dot \w+" cx="[\d.]+" cy="[\d.]+" r="5"/g)).to.equal(8);
  });

  it('say what they show: title, unit, axis, legend', () => {
    const latency = svgOf('latency');
    for (const words of [
      'Latency over time',
      'Time to first token (ms)',
      'Inter-token latency (ms)',
      'Time since start (seconds)',
    ])
      expect(latency).to.include(`>${words}<`);
    expect(countOf(latency, />99th percentile</g)).to.equal(1);
    expect(svgOf('hit-rate')).to.include('>whole replay: 40.0 %<');
    expect(svgOf('pareto')).to.include('>Output tokens per second and user (mean of requests)<');
    for (const figure of figures) {
      const svg = renderSvg(figure, 'light');
      expect(countOf(svg, /class="axis"/g)).to.be.greaterThan(2);
      expect(svg).to.match(/role="img"><title>[^<]+<\/title><desc>[^<]+<\/desc>/);
    }
  });

  for (const theme of themes) {
    it(`hold only numbers in theme ${theme}`, () => {
      for (const figure of figures) {
        const svg = renderSvg(figure, theme);
        expect(svg).to.not.match(/NaN|undefined|null|Infinity/);
        expect(svg.includes('prefers-color-scheme: dark')).to.equal(theme === 'auto');
      }
    });
  }

  for (const workers of [1, 8, 64]) {
    it(`put no text over another with ${workers} workers`, () => {
      for (const figure of [...reportFigures(reportOf('test.jsonl', workers)), pareto]) {
        expect(overlaps(textBoxes(renderSvg(figure, 'light'))), figure.name).to.deep.equal([]);
      }
    });
  }

  it('show prefill and decode workers on scales of their own', () => {
    const run = runOf({ workers: [workerOf('p0', 'prefill'), workerOf('p1', 'prefill'), workerOf('d0', 'decode')] });
    const report = buildReport(
      recordingOf(
        Array.from({ length: 50 }, (_, index) => recordOf(index, { prefillWorker: index % 2, worker: 2 })),
        { run },
      ),
    );
    const svg = renderSvg(reportFigures(report).find(({ name }) => name === 'workers') as Figure, 'light');
    expect(svg).to.match(/>Prefill workers: sequences running or waiting · most loaded over mean: [\d.]+</);
    expect(svg).to.include('>Decode workers: sequences running or waiting<');
    expect(countOf(svg, /\d sequences</g)).to.equal(2);
    const tops = [...svg.matchAll(/<rect class="heat\d" x="[\d.]+" y="([\d.]+)" width="18" height="12"/g)].map(
      (match) => Number(match[1]),
    );
    const cells = [...svg.matchAll(/<rect class="heat\d" x="[\d.]+" y="([\d.]+)" width="[\d.]+" height="(?!12")/g)].map(
      (match) => Number(match[1]),
    );
    for (const top of tops) expect(cells.filter((cell) => cell > top - 20 && cell < top + 16)).to.deep.equal([]);
  });

  it('label what lies close together without overlaps, and leave labels out that have no room', () => {
    const points = Array.from({ length: 30 }, (_, at) => ({
      outputTokensPerSecondPerUser: 100 + at / 10,
      outputTokensPerSecondPerWorker: 50 + at / 10,
      label: `${1000 + at}`,
    }));
    const boxes = textBoxes(renderSvg(paretoFigure([{ name: 'kv', points }], 'concurrency', ''), 'light'));
    const written = boxes.filter(({ content }) => /^10\d\d$/.test(content));
    expect(written.length).to.be.within(1, 10);
    expect(overlaps(boxes)).to.deep.equal([]);
    const wide = {
      label: '',
      min: 0,
      max: 10,
      scale: 'linear',
      tick: (value: number) => `${value} very long`,
    } as const;
    const axis = bottomAxis(wide, { left: 0, right: 400, top: 0, bottom: 100 }).join('');
    expect(textBoxes(axis).length).to.be.within(2, 5);
    expect(overlaps(textBoxes(axis))).to.deep.equal([]);
  });

  it('leave a gap where nothing was measured and show a value without neighbours', () => {
    const records = [0, 1, 2, 50, 100, 101].map((index) => recordOf(index * 10, { index }));
    const latency = reportFigures(buildReport(recordingOf(records)))[0] as Figure;
    const svg = renderSvg(latency, 'light');
    expect(countOf(svg, /<circle class="dot p50"/g)).to.be.greaterThan(0);
    expect(svg).to.not.include('NaN');
  });

  it('are logarithmic where percentiles lie far apart', () => {
    const slow = (index: number): number => (index % 20 === 0 ? 60_000 : 20);
    const records = Array.from({ length: 400 }, (_, index) =>
      recordOf(index, { firstTokenMs: index * 10 + slow(index), lastTokenMs: index * 10 + slow(index) + 50 }),
    );
    const svg = renderSvg(reportFigures(buildReport(recordingOf(records)))[0] as Figure, 'light');
    expect(svg).to.include('>Time to first token (s, logarithmic)<').and.not.include('NaN');
  });

  it('are none where nothing was completed', () => {
    expect(reportFigures(buildReport(recordingOf([])))).to.deep.equal([]);
  });

  it('escape names from outside', () => {
    const trace = `<script>alert("x")</script>&\u0001`;
    for (const figure of reportFigures(reportOf(trace))) {
      const svg = renderSvg(figure, 'auto');
      expect(svg).to.not.include('<script').and.not.include('\u0001');
      expect(svg).to.include('&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;\uFFFD');
    }
    const page = renderPage(trace, 'a < b', ['<svg/>'], 'auto');
    expect(page).to.include('a &lt; b').and.not.include('<script');
  });

  it('become PNG', () => {
    const png = renderPng(svgOf('queue'));
    expect(Buffer.from(png.subarray(0, 8)).toString('latin1')).to.equal('\x89PNG\r\n\x1a\n');
    expect(new DataView(png.buffer, png.byteOffset).getUint32(16)).to.equal(1640);
  });

  it('stand in one page that needs nothing else', () => {
    const page = renderPage(
      'Replay',
      'table',
      figures.map((figure) => renderSvg(figure, 'dark')),
      'dark',
    );
    expect(countOf(page, /<figure><svg /g)).to.equal(figures.length);
    expect(page.replaceAll('http://www.w3.org/2000/svg', '')).to.not.match(/https?:|<link|src=/);
  });
});

describe('axes', () => {
  it('have round bounds and ticks', () => {
    expect(axisFromZero('', 87)).to.include({ min: 0, max: 100 });
    expect(axisFromZero('', 0)).to.include({ min: 0, max: 1 });
    const log = logAxis('', 23, 6100);
    expect(log).to.include({ min: 20, max: 10_000 });
    expect(scaleOf(log, 0, 300, 30).ticks).to.deep.equal([20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000]);
    expect(scaleOf(axisFromZero('', 100), 0, 200, 40).ticks).to.deep.equal([0, 20, 40, 60, 80, 100]);
  });

  it('write the ticks of an axis in one form', () => {
    const axis = axisFromZero('', 20_000);
    expect(scaleOf(axis, 0, 200, 50).ticks.map(axis.tick)).to.deep.equal(['0', '5k', '10k', '15k', '20k']);
  });

  it('write time in the unit that suits its length', () => {
    const labels = [500, 60_000, 600_000, 36_000_000].map((endMs) => timeAxis(endMs).axis.label);
    expect(labels).to.deep.equal(['ms', 'seconds', 'minutes', 'hours'].map((unit) => `Time since start (${unit})`));
  });

  it('write short numbers', () => {
    expect([0, 0.25, 999, 1500, 25_000, 1_200_000].map(shortNumber)).to.deep.equal([
      '0',
      '0.25',
      '999',
      '1,500',
      '25k',
      '1.2M',
    ]);
  });
});

describe('SVG', () => {
  it('refuses coordinates that are no numbers', () => {
    expect(() => coordinate(Number.NaN)).to.throw('a coordinate is NaN');
    expect(coordinate(1.23456)).to.equal('1.23');
  });

  it('escapes and cuts text', () => {
    expect(escapeText(`a<b>&"'`)).to.equal('a&lt;b&gt;&amp;&quot;&#39;');
    expect(fitted('short', 12, 100)).to.equal('short');
    const cut = fitted('a rather long name of a worker', 12, 60);
    expect(cut.endsWith('…')).to.equal(true);
    expect(textWidth(cut, 12)).to.be.at.most(60);
  });
});
