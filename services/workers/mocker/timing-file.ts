import { readFile } from 'node:fs/promises';
import { inflateRawSync } from 'node:zlib';
import { readNpz } from '#core/scheduling/engine/npz.ts';
import type { TimingModel } from '#core/scheduling/engine/settings.ts';
import { interpolatedTiming, profileOfJson, profileOfNpz } from '#core/scheduling/engine/timing-profile.ts';
import { StatorError } from '#lib/errors/errors.ts';

/** Durations of passes from a profile. Throws `invalid_argument` that says what is wrong with the file. */
export async function readTiming(path: string): Promise<TimingModel> {
  try {
    const bytes = await readFile(path);
    if (path.endsWith('.json')) return interpolatedTiming(profileOfJson(JSON.parse(bytes.toString('utf8'))));
    return interpolatedTiming(profileOfNpz(readNpz(bytes, (compressed) => inflateRawSync(compressed))));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new StatorError('invalid_argument', `the timing profile ${path} cannot be read: ${why}`, {
      field: 'timing_profile',
      cause,
    });
  }
}
