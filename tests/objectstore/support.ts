import { createHash, randomBytes } from 'node:crypto';
import { assert } from 'chai';
import { StatorError } from '#lib/errors/errors.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';

export function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Random bytes, cut into chunks of uneven length. */
export async function* chunksOf(bytes: Uint8Array, chunkBytes = 300_001): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
}

export function random(bytes: number): Buffer {
  return randomBytes(bytes);
}

/** Waits for the failure and returns it; fails where there is none. */
export async function failure(work: Promise<unknown>): Promise<StatorError> {
  const thrown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.instanceOf(thrown, StatorError);
  return thrown;
}

/** Sum of a metric's values with these labels. */
export async function metric(
  { metrics }: Telemetry,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<number> {
  const { values = [] } = (await metrics.getSingleMetric(`stator_objectstore_${name}`)?.get()) ?? {};
  const wanted = Object.entries(labels);
  const matching = values.filter((value) => wanted.every(([key, text]) => value.labels[key] === text));
  return matching.reduce((sum, { value }) => sum + value, 0);
}
