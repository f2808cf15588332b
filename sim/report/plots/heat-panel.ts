import { scaleOf, shortNumber } from './axes.ts';
import type { HeatPanel } from './figure.ts';
import type { Area } from './frame.ts';
import { element, fitted, text, textWidth } from './svg.ts';
import { fontSizes, heatSteps } from './theme.ts';

/** Names of rows are cut at this width. */
const mostNameWidth = 130;

export function heatRowHeight(rows: number): number {
  return Math.max(5, Math.min(26, 480 / Math.max(1, rows)));
}

/** Pixels that the names of rows take. */
export function heatNamesWidth({ rows }: HeatPanel): number {
  return Math.min(mostNameWidth, Math.max(0, ...rows.map(({ name }) => textWidth(name, fontSizes.label)))) + 7;
}

/** One rectangle for each cell; neighbours of equal colour are one. */
export function drawHeat(panel: HeatPanel, area: Area): string[] {
  const x = scaleOf(panel.x, area.left, area.right, 90).at;
  const height = (area.bottom - area.top) / Math.max(1, panel.rows.length);
  // Where rows are thin, only some have room for their name.
  const named = Math.max(1, Math.ceil((fontSizes.label + 2) / height));
  return panel.rows.flatMap(({ name, values }, row) => {
    const top = area.top + row * height;
    const label = text(fitted(name, fontSizes.label, mostNameWidth), {
      x: area.left - 7,
      y: top + height / 2 + 4,
      class: 'label',
      anchor: 'end',
    });
    const cells = runs(values.map((value) => stepOf(value, panel.max))).map(({ step, from, to }) => {
      const left = x(panel.edges[from] ?? 0);
      const width = x(panel.edges[to] ?? panel.x.max) - left;
      return element('rect', {
        class: `heat${step}`,
        x: left,
        y: top,
        width: Math.max(0, width),
        height: Math.max(1, height - (height > 8 ? 1 : 0)),
        'shape-rendering': 'crispEdges',
      });
    });
    return row % named === 0 ? [label, ...cells] : cells;
  });
}

/** The colour scale with its bounds. */
export function heatLegend({ max, unit }: HeatPanel, left: number, top: number): string[] {
  const swatch = 18;
  const from = left + textWidth('0', fontSizes.label) + 6;
  const steps = Array.from({ length: heatSteps }, (_, step) =>
    element('rect', {
      class: `heat${step}`,
      x: from + step * swatch,
      y: top,
      width: swatch,
      height: 12,
      'shape-rendering': 'crispEdges',
    }),
  );
  return [
    text('0', { x: left, y: top + 10, class: 'label' }),
    ...steps,
    text(`${shortNumber(max)} ${unit}`, { x: from + heatSteps * swatch + 6, y: top + 10, class: 'label' }),
  ];
}

function stepOf(value: number | null, max: number): number {
  return Math.max(0, Math.min(heatSteps - 1, Math.floor(((value ?? 0) / max) * heatSteps)));
}

interface Run {
  readonly step: number;
  readonly from: number;
  to: number;
}

function runs(steps: readonly number[]): Run[] {
  const found: Run[] = [];
  for (const [at, step] of steps.entries()) {
    const last = found.at(-1);
    if (last?.step === step) last.to = at + 1;
    else found.push({ step, from: at, to: at + 1 });
  }
  return found;
}
