import { element, text, textWidth } from './svg.ts';
import { fontSizes, type Tone } from './theme.ts';

export interface LegendEntry {
  readonly name: string;
  readonly tone: Tone;
  readonly mark: 'line' | 'dot' | 'reference';
}

const sampleWidth = 26;
const gap = 18;
const rowHeight = 18;

/** Height of a legend in a width; 0 where one entry needs none. */
export function legendHeight(entries: readonly LegendEntry[], width: number): number {
  return entries.length < 2 ? 0 : placed(entries, width).rows * rowHeight;
}

/** Samples with their names, in as many rows as the width needs. `top`: of its first row. */
export function legend(entries: readonly LegendEntry[], left: number, top: number, width: number): string[] {
  if (entries.length < 2) return [];
  return placed(entries, width).places.flatMap(({ entry, x, row }) => {
    const y = top + row * rowHeight + 9;
    const from = left + x;
    const sample =
      entry.mark === 'dot'
        ? element('circle', { class: `dot ${entry.tone}`, cx: from + 10, cy: y, r: 4.5 })
        : element('line', { class: classOf(entry), x1: from, y1: y, x2: from + sampleWidth - 6, y2: y });
    return [sample, text(entry.name, { x: left + x + sampleWidth, y: y + 4, class: 'value' })];
  });
}

function classOf({ mark, tone }: LegendEntry): string {
  return mark === 'line' ? `line ${tone}` : mark;
}

interface Placed {
  readonly rows: number;
  readonly places: readonly { readonly entry: LegendEntry; readonly x: number; readonly row: number }[];
}

function placed(entries: readonly LegendEntry[], width: number): Placed {
  let x = 0;
  let row = 0;
  const places = entries.map((entry) => {
    const needed = sampleWidth + textWidth(entry.name, fontSizes.label);
    if (x > 0 && x + needed > width) {
      x = 0;
      row++;
    }
    const place = { entry, x, row };
    x += needed + gap;
    return place;
  });
  return { rows: row + 1, places };
}
