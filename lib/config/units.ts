/** Unit that a number is kept in. A value may be written with another unit of the same kind: `90s`, `2m`, `1.5GiB`. */
export type Unit = 'milliseconds' | 'seconds' | 'bytes' | 'MiB';

const milliseconds = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const bytes = {
  B: 1,
  kB: 1000,
  MB: 1000 ** 2,
  GB: 1000 ** 3,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
};

const kinds: Readonly<Record<Unit, { readonly factors: Readonly<Record<string, number>>; readonly base: number }>> = {
  milliseconds: { factors: milliseconds, base: 1 },
  seconds: { factors: milliseconds, base: 1000 },
  bytes: { factors: bytes, base: 1 },
  MiB: { factors: bytes, base: 1024 ** 2 },
};

/** The number in its unit, NaN if the text is none. A bare number has the unit already. */
export function parseQuantity(text: string, unit: Unit | undefined): number {
  const trimmed = text.trim();
  const bare = trimmed === '' ? Number.NaN : Number(trimmed);
  if (!Number.isNaN(bare) || unit === undefined) return bare;
  const [, digits = '', suffix = ''] = /^(\d+(?:\.\d+)?)\s*([A-Za-z]+)$/.exec(trimmed) ?? [];
  const { factors, base } = kinds[unit];
  const factor = Object.hasOwn(factors, suffix) ? factors[suffix] : undefined;
  return factor === undefined ? Number.NaN : (Number(digits) * factor) / base;
}

/** How a quantity may be written, for help and errors. */
export function unitExamples(unit: Unit): string {
  return unit === 'bytes' || unit === 'MiB'
    ? `in ${unit}, or like 512MiB or 2GiB`
    : `in ${unit}, or like 500ms, 30s or 5m`;
}
