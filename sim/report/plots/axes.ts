import { scaleLinear, scaleLog } from 'd3-scale';
import type { Axis } from './figure.ts';

/** Where values lie between two pixels, and which of them have ticks. */
export interface Scale {
  readonly at: (value: number) => number;
  readonly ticks: readonly number[];
}

/** `spacing`: about how many pixels lie between ticks. */
export function scaleOf(axis: Axis, from: number, to: number, spacing: number): Scale {
  const wanted = Math.max(2, Math.round(Math.abs(to - from) / spacing));
  if (axis.scale === 'log') {
    const scale = scaleLog().domain([axis.min, axis.max]).range([from, to]);
    return { at: (value) => scale(Math.max(value, axis.min)), ticks: logTicks(axis.min, axis.max, wanted) };
  }
  const scale = scaleLinear().domain([axis.min, axis.max]).range([from, to]);
  return { at: scale, ticks: scale.ticks(wanted) };
}

/** 1, 2, 5, 10, … or only the powers of ten where those would be too many. */
function logTicks(min: number, max: number, wanted: number): number[] {
  const ticks = (digits: readonly number[]): number[] => {
    const found: number[] = [];
    for (let power = Math.floor(Math.log10(min)); power <= Math.ceil(Math.log10(max)); power++) {
      for (const digit of digits) {
        const value = digit * 10 ** power;
        if (value >= min * 0.999 && value <= max * 1.001) found.push(value);
      }
    }
    return found;
  };
  const fine = ticks([1, 2, 5]);
  return fine.length <= wanted + 2 ? fine : ticks([1]);
}

/** From 0 to a round number that is not below the largest; rounder for fewer `ticks`. */
export function axisFromZero(label: string, largest: number, ticks = 5): Axis {
  const [, max = 1] = scaleLinear()
    .domain([0, largest > 0 ? largest : 1])
    .nice(ticks)
    .domain();
  // All ticks of an axis in the same form.
  const tick =
    max >= 1e4 && max < 1e6 ? (value: number) => (value === 0 ? '0' : `${trimmed(value / 1e3)}k`) : shortNumber;
  return { label, min: 0, max, scale: 'linear', tick };
}

/** Round bounds around positive values, logarithmic. */
export function logAxis(label: string, smallest: number, largest: number): Axis {
  return { label, min: roundDown(smallest), max: roundUp(largest), scale: 'log', tick: shortNumber };
}

function roundDown(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  const digit = [5, 2, 1].find((candidate) => candidate * power <= value * 1.0001) ?? 1;
  return digit * power;
}

function roundUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  const digit = [1, 2, 5, 10].find((candidate) => candidate * power >= value * 0.9999) ?? 10;
  return digit * power;
}

/** 1500 → "1,500", 25000 → "25k", 0.05 → "0.05". */
export function shortNumber(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e9) return `${trimmed(value / 1e9)}G`;
  if (size >= 1e6) return `${trimmed(value / 1e6)}M`;
  if (size >= 1e4) return `${trimmed(value / 1e3)}k`;
  return size >= 1000 ? trimmed(value).replace(/(\d)(\d{3})$/, '$1,$2') : trimmed(value);
}

function trimmed(value: number): string {
  return String(Number(value.toPrecision(6)));
}

/** An axis of time since the start, in whichever unit gives short numbers, and the milliseconds of that unit. */
export function timeAxis(endMs: number): { readonly axis: Axis; readonly unitMs: number } {
  const [unit, unitMs] = timeUnit(endMs);
  return {
    axis: { label: `Time since start (${unit})`, min: 0, max: endMs / unitMs, scale: 'linear', tick: shortNumber },
    unitMs,
  };
}

function timeUnit(endMs: number): [string, number] {
  if (endMs >= 5 * 3_600_000) return ['hours', 3_600_000];
  if (endMs >= 5 * 60_000) return ['minutes', 60_000];
  return endMs >= 2000 ? ['seconds', 1000] : ['ms', 1];
}
