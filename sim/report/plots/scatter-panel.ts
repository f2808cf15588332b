import { line as pathOf } from 'd3-shape';
import { scaleOf } from './axes.ts';
import type { ScatterPanel } from './figure.ts';
import { type Area, leftAxis, verticalGrid } from './frame.ts';
import { element, text, textWidth } from './svg.ts';
import { fontSizes } from './theme.ts';

interface Box {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

/** Points joined by lines, each with its label where there is room for one. */
export function drawScatter(panel: ScatterPanel, area: Area): string[] {
  const x = scaleOf(panel.x, area.left, area.right, 90).at;
  const y = scaleOf(panel.y, area.bottom, area.top, 38).at;
  const series = panel.series.map(({ tone, points }) => ({
    tone,
    points: points.map((point) => ({ x: x(point.x), y: y(point.y), label: point.label })),
  }));
  const paths = series.map(({ tone, points }) =>
    element('path', {
      class: `line ${tone}`,
      d:
        pathOf<{ x: number; y: number }>()
          .x((p) => p.x)
          .y((p) => p.y)
          .digits(2)(points) ?? '',
    }),
  );
  const dots = series.flatMap(({ tone, points }) =>
    points.map((point) => element('circle', { class: `dot ${tone}`, cx: point.x, cy: point.y, r: 5 })),
  );
  const all = series.flatMap(({ points }) => points);
  return [...verticalGrid(panel.x, area), ...leftAxis(panel.y, area), ...paths, ...dots, ...labels(all, area)];
}

/** Beside each point, on the first side that is free; none where all are taken. */
function labels(points: readonly { x: number; y: number; label: string }[], area: Area): string[] {
  const taken: Box[] = points.map(({ x, y }) => ({ left: x - 6, right: x + 6, top: y - 6, bottom: y + 6 }));
  const written: string[] = [];
  for (const { x, y, label } of points) {
    const width = textWidth(label, fontSizes.label);
    const sides: [number, number][] = [
      [x + 9, y - 6],
      [x - 9 - width, y + 16],
      [x + 9, y + 16],
      [x - 9 - width, y - 6],
      [x + 9, y + 4],
      [x - 9 - width, y + 4],
    ];
    for (const [left, baseline] of sides) {
      const box = { left, right: left + width, top: baseline - fontSizes.label, bottom: baseline + 3 };
      if (box.left < area.left || box.right > area.right || box.top < area.top || box.bottom > area.bottom) continue;
      if (taken.some((other) => overlap(box, other))) continue;
      taken.push(box);
      written.push(text(label, { x: left, y: baseline, class: 'value' }));
      break;
    }
  }
  return written;
}

function overlap(a: Box, b: Box): boolean {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}
