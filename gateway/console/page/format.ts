/** 98362432 → "98.4 MB". */
export function bytes(value: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let left = value;
  let unit = 0;
  while (left >= 1000 && unit < units.length - 1) {
    left /= 1000;
    unit++;
  }
  return `${left.toFixed(unit === 0 || left >= 100 ? 0 : 1)} ${units[unit]}`;
}

/** 1234.5 → "1.23 s", 12.3 → "12.3 ms". */
export function milliseconds(value: number): string {
  return value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

/** 0.503 → "50.3 %"; null → "–". */
export function percent(share: number | null): string {
  return share === null ? '–' : `${(share * 100).toFixed(1)} %`;
}

/** A time of day. */
export function clock(unixMs: number): string {
  return new Date(unixMs).toLocaleTimeString();
}
