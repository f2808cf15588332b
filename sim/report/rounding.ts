/** Nine significant digits: more than anything here is exact to, and the same text wherever it is computed. null: not a number. */
export function numberOrNull(value: number): number | null {
  if (!Number.isFinite(value)) return null;
  return Number.isSafeInteger(value) ? value : Number(value.toPrecision(9));
}
