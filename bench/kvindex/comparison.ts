import { type BenchRow, median } from '#bench/report.ts';

/** What both sides measured of one line, round by round. */
export interface Comparison {
  readonly line: string;
  readonly unit: string;
  readonly better: 'higher' | 'lower';
  /** Times as good as the anchor that ours must be. */
  readonly factor: number;
  readonly ours: number[];
  readonly anchor: number[];
}

/** Median figures, the median of the rounds' ratios and how far they lie apart; the verdict is on the ratio. */
export function rowOf({ line, unit, better, factor, ours, anchor }: Comparison): BenchRow {
  const ratios = ours.map((figure, round) => figure / (anchor[round] ?? Number.NaN));
  const ratio = median(ratios);
  return {
    line,
    unit,
    ours: median(ours),
    anchor: median(anchor),
    ratio,
    spread: (Math.max(...ratios) - Math.min(...ratios)) / ratio,
    target: better === 'higher' ? median(anchor) * factor : median(anchor) / factor,
    ok: better === 'higher' ? ratio > factor : ratio < 1 / factor,
  };
}
