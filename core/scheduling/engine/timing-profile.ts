import type { NpzArray } from './npz.ts';
import type { TimingModel } from './settings.ts';

/** Measured durations of passes, as Dynamo's profiler writes them. */
export interface TimingProfile {
  /** Prompt tokens computed, ascending, and the milliseconds that they took. */
  readonly prefillTokens: readonly number[];
  readonly prefillMs: readonly number[];
  /** Axes of the decode table, ascending. */
  readonly decodeKvTokens: readonly number[];
  readonly decodeContextTokens: readonly number[];
  /** Milliseconds of a decode pass: a row for each number of KV tokens, a column for each context length. */
  readonly decodeMs: readonly (readonly number[])[];
}

/** Interpolates linearly between what was measured, and on beyond it. */
export function interpolatedTiming(profile: TimingProfile): TimingModel {
  const { prefillTokens, prefillMs, decodeKvTokens, decodeContextTokens, decodeMs } = profile;
  return {
    prefillMs: (tokens) =>
      Math.max(
        0,
        linear(prefillTokens, (i) => prefillMs[i] ?? 0, tokens),
      ),
    decodeMs(activeKvTokens, _total, contextTokens) {
      const row = (i: number): number => linear(decodeContextTokens, (j) => decodeMs[i]?.[j] ?? 0, contextTokens);
      return Math.max(1, linear(decodeKvTokens, row, activeKvTokens));
    },
  };
}

/** Arrays named as in Dynamo's npz, from JSON. Throws RangeError that names the array. */
export function profileOfJson(json: unknown): TimingProfile {
  const object: Readonly<Record<string, unknown>> = isObject(json) ? json : {};
  return checked({
    prefillTokens: numbers(object['prefill_isl'], 'prefill_isl'),
    prefillMs: numbers(object['prefill_ttft_ms'], 'prefill_ttft_ms'),
    decodeKvTokens: numbers(object['decode_active_kv_tokens'], 'decode_active_kv_tokens'),
    decodeContextTokens: numbers(object['decode_context_length'], 'decode_context_length'),
    decodeMs: rows(object['decode_itl']),
  });
}

/** The same from the arrays of an npz file. */
export function profileOfNpz(arrays: ReadonlyMap<string, NpzArray>): TimingProfile {
  const column = (name: string): number[] => [...(arrays.get(name)?.values ?? [])];
  const table = arrays.get('decode_itl');
  const [, columns = 0] = table?.shape ?? [];
  const rowCount = columns > 0 ? (table?.values.length ?? 0) / columns : 0;
  return profileOfJson({
    prefill_isl: column('prefill_isl'),
    prefill_ttft_ms: column('prefill_ttft_ms'),
    decode_active_kv_tokens: column('decode_active_kv_tokens'),
    decode_context_length: column('decode_context_length'),
    decode_itl: Array.from({ length: rowCount }, (_, i) => [
      ...(table?.values.subarray(i * columns, (i + 1) * columns) ?? []),
    ]),
  });
}

/** Value at `x` of what `valueAt` gives for each place on an ascending axis. */
function linear(axis: readonly number[], valueAt: (index: number) => number, x: number): number {
  if (axis.length === 1) return valueAt(0);
  let low = 0;
  let high = axis.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((axis[middle] ?? 0) <= x) low = middle;
    else high = middle;
  }
  const [from = 0, to = 0] = [axis[low], axis[high]];
  const first = valueAt(low);
  return first + ((valueAt(high) - first) * (x - from)) / (to - from);
}

function checked(profile: TimingProfile): TimingProfile {
  const { prefillTokens, prefillMs, decodeKvTokens, decodeContextTokens, decodeMs } = profile;
  ascending(prefillTokens, 'prefill_isl');
  ascending(decodeKvTokens, 'decode_active_kv_tokens');
  ascending(decodeContextTokens, 'decode_context_length');
  if (prefillMs.length !== prefillTokens.length)
    throw new RangeError(`prefill_ttft_ms has ${prefillMs.length} values, prefill_isl ${prefillTokens.length}`);
  const fits =
    decodeMs.length === decodeKvTokens.length && decodeMs.every((row) => row.length === decodeContextTokens.length);
  if (!fits)
    throw new RangeError(`decode_itl must have ${decodeKvTokens.length} rows of ${decodeContextTokens.length} values`);
  return profile;
}

function ascending(axis: readonly number[], name: string): void {
  if (!axis.every((value, i) => i === 0 || value > (axis[i - 1] ?? 0))) throw new RangeError(`${name} must ascend`);
}

function rows(value: unknown): number[][] {
  if (!Array.isArray(value)) throw new RangeError('decode_itl must be an array of arrays of numbers');
  return value.map((row: unknown, i) => numbers(row, `decode_itl[${i}]`));
}

function numbers(value: unknown, name: string): number[] {
  const isNumbers = Array.isArray(value) && value.length > 0 && value.every((item) => Number.isFinite(item));
  if (!isNumbers) throw new RangeError(`${name} must be an array of numbers`);
  return value as number[];
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
