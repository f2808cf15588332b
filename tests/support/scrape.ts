import { parseMetrics, type Sample } from './metrics-text.ts';

/** Reads and checks the metrics of a process. */
export async function scrape(address: string): Promise<Sample[]> {
  const response = await fetch(`http://${address}/metrics`);
  if (response.status !== 200) throw new Error(`/metrics of ${address} answered ${response.status}`);
  return parseMetrics(await response.text());
}
