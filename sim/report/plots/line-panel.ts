import { curveLinear, line as pathOf } from 'd3-shape';
import { scaleOf } from './axes.ts';
import type { Line, LinePanel } from './figure.ts';
import { type Area, leftAxis, line } from './frame.ts';
import { element } from './svg.ts';

/** The lines of a panel in its area. */
export function drawLines(panel: LinePanel, area: Area): string[] {
  const x = scaleOf(panel.x, area.left, area.right, 90).at;
  const y = scaleOf(panel.y, area.bottom, area.top, 38).at;
  const marks = panel.lines.flatMap((each) => drawLine(each, panel.places.map(x), y));
  const level = panel.reference === undefined ? [] : [y(panel.reference.value)];
  const reference = level.map((at) => line('reference', area.left, at, area.right, at));
  return [...leftAxis(panel.y, area), ...reference, ...marks];
}

function drawLine({ values, tone }: Line, places: readonly number[], y: (value: number) => number): string[] {
  const points = values.map((value, at): [number, number] | null =>
    value === null ? null : [places[at] ?? 0, y(value)],
  );
  const path = pathOf<[number, number] | null>()
    .defined((point) => point !== null)
    .x((point) => point?.[0] ?? 0)
    .y((point) => point?.[1] ?? 0)
    .curve(curveLinear)
    .digits(2)(points);
  // A value without neighbours is no line.
  const alone = points.filter(
    (point, at) => point !== null && (points[at - 1] ?? null) === null && (points[at + 1] ?? null) === null,
  );
  const dots = alone.map((point) => element('circle', { class: `dot ${tone}`, cx: point?.[0], cy: point?.[1], r: 3 }));
  return path === null ? dots : [element('path', { class: `line ${tone}`, d: path }), ...dots];
}
