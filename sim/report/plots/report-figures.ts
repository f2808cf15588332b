import type { PercentilesOverTime, ReplayReport } from '../report.ts';
import { decimal, duration, integer, percent } from '../table.ts';
import { axisFromZero, logAxis, timeAxis } from './axes.ts';
import type { Axis, Figure, HeatPanel, Line, LinePanel } from './figure.ts';

/** The plots of one report. */
export function reportFigures(report: ReplayReport): Figure[] {
  if (report.requests.completed === 0) return [];
  const time = timeOf(report);
  return [
    latency(report, time),
    throughput(report, time),
    queue(report, time),
    hitRate(report, time),
    workers(report, time),
  ];
}

interface Time {
  readonly axis: Axis;
  /** Middles of spans, in the axis' unit. */
  readonly places: readonly number[];
  readonly edges: readonly number[];
}

function timeOf({ timeline: { spanMs, endMs, queued } }: ReplayReport): Time {
  const { axis, unitMs } = timeAxis(endMs);
  const edges = queued.map((_, at) => (at * spanMs) / unitMs);
  edges.push(endMs / unitMs);
  const places = queued.map((_, at) => ((edges[at] ?? 0) + (edges[at + 1] ?? 0)) / 2);
  return { axis, places, edges };
}

function subtitleOf({ run, requests, durationMs, workers }: ReplayReport): string {
  const time = run.time === 'virtual' ? 'virtual time' : 'live';
  const machines = `${workers.length} ${workers.length === 1 ? 'worker' : 'workers'}`;
  return `${run.trace} · ${integer(requests.completed)} requests in ${duration(durationMs)} · ${machines} · router ${run.routerMode} · ${time}`;
}

function latency(report: ReplayReport, time: Time): Figure {
  const { timeline } = report;
  const panel = (name: string, percentiles: PercentilesOverTime): LinePanel => {
    const { axis, unit, scale } = latencyAxis(percentiles);
    const line = (label: string, tone: Line['tone'], values: readonly (number | null)[]): Line => ({
      name: label,
      tone,
      values: values.map((value) => (value === null ? null : value * scale)),
    });
    return {
      kind: 'lines',
      title: `${name} (${unit}${axis.scale === 'log' ? ', logarithmic' : ''})`,
      x: time.axis,
      y: axis,
      places: time.places,
      lines: [
        line('median', 'p50', percentiles.p50),
        line('90th percentile', 'p90', percentiles.p90),
        line('99th percentile', 'p99', percentiles.p99),
      ],
    };
  };
  return {
    name: 'latency',
    title: 'Latency over time',
    subtitle: subtitleOf(report),
    description: 'Median, 90th and 99th percentile of three latencies, of the requests sent in each span of time.',
    panels: [
      panel('Time to first token', timeline.timeToFirstTokenMs),
      panel('Inter-token latency', timeline.interTokenLatencyMs),
      panel('Request latency', timeline.requestLatencyMs),
    ],
  };
}

/** Milliseconds or seconds; logarithmic where percentiles lie so far apart that the median would be a flat line. */
function latencyAxis({ p50, p99 }: PercentilesOverTime): { axis: Axis; unit: string; scale: number } {
  const medians = numbersOf(p50).filter((value) => value > 0);
  const largest = Math.max(0, ...numbersOf(p99));
  const [unit, scale] = largest >= 10_000 ? (['s', 1 / 1000] as const) : (['ms', 1] as const);
  const smallest = Math.min(...medians);
  if (medians.length > 0 && largest / smallest > 40)
    return { axis: logAxis('', smallest * scale, largest * scale), unit, scale };
  return { axis: axisFromZero('', largest * scale), unit, scale };
}

function throughput(report: ReplayReport, time: Time): Figure {
  const { timeline, throughput: total } = report;
  return {
    name: 'throughput',
    title: 'Throughput over time',
    subtitle: subtitleOf(report),
    description: 'Requests sent and completed, and output tokens, a second.',
    panels: [
      linePanel('Requests per second', time, [
        { name: 'sent', tone: 'sky', values: timeline.arrived },
        { name: 'completed', tone: 'orange', values: timeline.completed },
      ]),
      withMean(
        linePanel('Output tokens per second, counted when their request completes', time, [
          { name: 'output tokens', tone: 'blue', values: timeline.outputTokens },
        ]),
        total.outputTokensPerSecond,
        (mean) => `whole replay: ${decimal(mean)}`,
      ),
    ],
  };
}

function queue(report: ReplayReport, time: Time): Figure {
  const { timeline } = report;
  const waiting: Line[] = [
    { name: "in the router's queue", tone: 'orange', values: timeline.queued },
    { name: "in the engines' queues", tone: 'blue', values: timeline.waiting },
  ];
  // Queues of a live deployment are not seen from outside.
  const known = waiting.filter(({ values }) => values.some((value) => value !== null));
  const inFlight = linePanel('Requests in flight, waiting ones included (number)', time, [
    { name: 'in flight', tone: 'green', values: timeline.inFlight },
  ]);
  return {
    name: 'queue',
    title: known.length === 0 ? 'Requests in flight over time' : 'Queue depth over time',
    subtitle: subtitleOf(report),
    description: "Requests that wait in the router's queue and in the engines' queues, and all that are in flight.",
    panels: known.length === 0 ? [inFlight] : [linePanel('Requests that wait (number)', time, known), inFlight],
  };
}

function hitRate(report: ReplayReport, time: Time): Figure {
  const { timeline, cache } = report;
  const panel = linePanel('Share of prompt tokens found in a cache (%)', time, [
    { name: 'hit rate', tone: 'blue', values: timeline.hitRate.map((share) => (share === null ? null : share * 100)) },
  ]);
  const y: Axis = { label: '', min: 0, max: 100, scale: 'linear', tick: (value) => String(value) };
  return {
    name: 'hit-rate',
    title: 'Prefix cache hit rate over time',
    subtitle: subtitleOf(report),
    description: 'Cached prompt tokens over prompt tokens, of the requests sent in each span of time.',
    panels: [
      withMean(
        { ...panel, y },
        cache.tokenHitRate === null ? null : cache.tokenHitRate * 100,
        () => `whole replay: ${percent(cache.tokenHitRate)}`,
      ),
    ],
  };
}

function workers(report: ReplayReport, time: Time): Figure {
  return {
    name: 'workers',
    title: 'Load of each worker over time',
    subtitle: subtitleOf(report),
    description:
      'Sequences that run or wait at each worker; darker is more in the light theme, brighter in the dark one.',
    panels: report.balance.map((members) => workerPanel(report, time, members)),
  };
}

/** The workers of one role, with a colour scale of their own: prompts and outputs do not compare. */
function workerPanel(
  { workers: all, timeline }: ReplayReport,
  time: Time,
  { role, workers: members, momentary }: ReplayReport['balance'][number],
): HeatPanel {
  const rows = all.flatMap(({ name, role: own }, at) =>
    own === role ? [{ name, values: timeline.workerLoad[at] ?? [] }] : [],
  );
  const what = role === 'aggregated' ? 'Sequences' : `${role === 'prefill' ? 'Prefill' : 'Decode'} workers: sequences`;
  const imbalance = members > 1 ? ` · most loaded over mean: ${decimal(momentary.maxOverMean)}` : '';
  const largest = Math.max(0, ...rows.flatMap(({ values }) => numbersOf(values)));
  return {
    kind: 'heat',
    title: `${what} running or waiting${imbalance}`,
    x: time.axis,
    rows,
    edges: time.edges,
    max: axisFromZero('', largest).max,
    unit: 'sequences',
  };
}

function linePanel(title: string, time: Time, lines: readonly Line[]): LinePanel {
  const largest = Math.max(0, ...lines.flatMap(({ values }) => numbersOf(values)));
  return { kind: 'lines', title, x: time.axis, y: axisFromZero('', largest), places: time.places, lines };
}

function withMean(panel: LinePanel, mean: number | null, label: (mean: number) => string): LinePanel {
  return mean === null ? panel : { ...panel, reference: { value: mean, label: label(mean) } };
}

function numbersOf(values: readonly (number | null)[]): number[] {
  return values.filter((value) => value !== null);
}
