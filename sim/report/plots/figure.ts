import type { Tone } from './theme.ts';

/** What is drawn along an axis. */
export interface Axis {
  /** Name and unit. */
  readonly label: string;
  readonly min: number;
  readonly max: number;
  readonly scale: 'linear' | 'log';
  /** How a tick is written. */
  readonly tick: (value: number) => string;
}

export interface Line {
  readonly name: string;
  readonly tone: Tone;
  /** One for each place of the panel; null: nothing was measured there. */
  readonly values: readonly (number | null)[];
}

/** Lines over the same places. */
export interface LinePanel {
  readonly kind: 'lines';
  /** What is shown and its unit. */
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly places: readonly number[];
  readonly lines: readonly Line[];
  /** A level drawn across and named in the legend. */
  readonly reference?: { readonly value: number; readonly label: string };
}

/** A row for each of many, coloured by value. */
export interface HeatPanel {
  readonly kind: 'heat';
  readonly title: string;
  readonly x: Axis;
  readonly rows: readonly { readonly name: string; readonly values: readonly (number | null)[] }[];
  /** Where each column begins, and where the last ends. */
  readonly edges: readonly number[];
  /** Of the colour scale, which begins at 0. */
  readonly max: number;
  readonly unit: string;
}

export interface ScatterPoint {
  readonly x: number;
  readonly y: number;
  readonly label: string;
}

/** Labelled points, joined in their order. */
export interface ScatterPanel {
  readonly kind: 'scatter';
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly { readonly name: string; readonly tone: Tone; readonly points: readonly ScatterPoint[] }[];
}

export type Panel = LinePanel | HeatPanel | ScatterPanel;

/** One plot: panels below each other over one title. */
export interface Figure {
  /** Name of its file without the ending. */
  readonly name: string;
  readonly title: string;
  readonly subtitle: string;
  /** What it shows, for people who do not see it. */
  readonly description: string;
  readonly panels: readonly Panel[];
}
