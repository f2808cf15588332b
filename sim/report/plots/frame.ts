import { scaleOf } from './axes.ts';
import type { Axis } from './figure.ts';
import { element, text, textWidth } from './svg.ts';
import { fontSizes } from './theme.ts';

/** The rectangle in which values lie. */
export interface Area {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

const tickGap = 7;

/** Ticks, their labels and the name of a horizontal axis at the bottom of an area. */
export function bottomAxis(axis: Axis, area: Area): string[] {
  const { at, ticks } = scaleOf(axis, area.left, area.right, 90);
  const parts = [line('axis', area.left, area.bottom, area.right, area.bottom)];
  let freeFrom = -Infinity;
  for (const tick of ticks) {
    const label = axis.tick(tick);
    const half = textWidth(label, fontSizes.label) / 2;
    const x = at(tick);
    parts.push(line('axis', x, area.bottom, x, area.bottom + 4));
    if (x - half < freeFrom) continue;
    parts.push(text(label, { x, y: area.bottom + 18, class: 'label', anchor: 'middle' }));
    freeFrom = x + half + tickGap;
  }
  const middle = (area.left + area.right) / 2;
  parts.push(text(axis.label, { x: middle, y: area.bottom + 36, class: 'label', anchor: 'middle' }));
  return parts;
}

/** Lines across an area with their values to its left. */
export function leftAxis(axis: Axis, area: Area): string[] {
  const { at, ticks } = scaleOf(axis, area.bottom, area.top, 38);
  return ticks.flatMap((tick) => [
    line('grid', area.left, at(tick), area.right, at(tick)),
    text(axis.tick(tick), { x: area.left - tickGap, y: at(tick) + 4, class: 'label', anchor: 'end' }),
  ]);
}

/** Lines down an area at the ticks of its horizontal axis. */
export function verticalGrid(axis: Axis, area: Area): string[] {
  const { at, ticks } = scaleOf(axis, area.left, area.right, 90);
  return ticks.map((tick) => line('grid', at(tick), area.top, at(tick), area.bottom));
}

/** Pixels that the labels of a vertical axis take. */
export function leftAxisWidth(axis: Axis, height: number): number {
  const labels = scaleOf(axis, height, 0, 38).ticks.map(axis.tick);
  return Math.max(0, ...labels.map((label) => textWidth(label, fontSizes.label))) + tickGap;
}

export function line(classes: string, x1: number, y1: number, x2: number, y2: number): string {
  // On whole and a half pixels lines of one pixel are sharp.
  const sharp = (value: number): number => Math.round(value) + 0.5;
  return element('line', { class: classes, x1: sharp(x1), y1: sharp(y1), x2: sharp(x2), y2: sharp(y2) });
}
