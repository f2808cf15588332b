import { axisFromZero, logAxis } from '#sim/report/plots/axes.ts';
import type { Figure, LinePanel } from '#sim/report/plots/figure.ts';
import { seriesTones } from '#sim/report/plots/theme.ts';

/** Sorted values of each way of serving. */
export interface Series {
  readonly name: string;
  readonly chatFirstMs: readonly number[];
  readonly chatGapsMs: readonly number[];
  readonly longFirstMs: readonly number[];
}

const percentiles = Array.from({ length: 100 }, (_, index) => index + 0.5);

export function percentile(sorted: readonly number[], percent: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor((percent / 100) * sorted.length))] ?? Number.NaN;
}

/** How long clients waited, by the share of them that waited no longer. */
export function waitsFigure(name: string, subtitle: string, series: readonly Series[]): Figure {
  return {
    name,
    title: 'Prefill and decode apart, and together, on the same two processes',
    subtitle,
    description:
      'Percentiles of the time between tokens and to the first token of short chats, and to the first token of long prompts.',
    panels: [
      panel('Time between tokens of short chats (ms, logarithmic)', series, ({ chatGapsMs }) => chatGapsMs),
      panel('Time to the first token of short chats (ms, logarithmic)', series, ({ chatFirstMs }) => chatFirstMs),
      panel('Time to the first token of long prompts (ms, logarithmic)', series, ({ longFirstMs }) => longFirstMs),
    ],
  };
}

function panel(title: string, series: readonly Series[], of: (one: Series) => readonly number[]): LinePanel {
  const lines = series.map((one, index) => ({
    name: one.name,
    tone: seriesTones[index] ?? 'blue',
    values: percentiles.map((percent) => Math.max(0.01, percentile(of(one), percent))),
  }));
  const all = lines.flatMap(({ values }) => values);
  return {
    kind: 'lines',
    title,
    x: { ...axisFromZero('share of them, %', 100), max: 100 },
    y: logAxis('ms', Math.min(...all), Math.max(...all)),
    places: percentiles,
    lines,
  };
}
