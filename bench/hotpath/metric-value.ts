import type { Telemetry } from '#lib/telemetry/telemetry.ts';

/** Sum over the series of one counter. */
export async function metricValue(telemetry: Telemetry, name: string): Promise<number> {
  const text = await telemetry.metrics.getSingleMetricAsString(name);
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}
