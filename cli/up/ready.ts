import { setTimeout as delay } from 'node:timers/promises';

const POLL_MS = 50;

/** The names of the models that a gateway serves, as soon as it lists that many. */
export async function modelsListed(url: string, count: number, signal: AbortSignal): Promise<string[]> {
  for (;;) {
    const response = await fetch(`${url}/v1/models`, { signal });
    if (response.ok) {
      const { data } = (await response.json()) as { data: { id: string }[] };
      if (data.length >= count) return data.map(({ id }) => id);
    }
    await delay(POLL_MS, undefined, { signal });
  }
}
