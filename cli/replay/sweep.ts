import { flagName } from '#lib/config/settings.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { type ReplaySettings, replaySettings } from './settings.ts';

/** Settings that a sweep may be over. */
const sweepable = ['concurrency', 'numWorkers', 'arrivalSpeedupRatio'] as const;

type Sweepable = (typeof sweepable)[number];

export interface Sweep {
  /** The flag without its dashes. */
  readonly over: string;
  readonly values: readonly number[];
  settingsFor(value: number): ReplaySettings;
}

/** Reads `concurrency=1,2,4`. Throws `invalid_argument` that names what is wrong. */
export function sweepOf(settings: ReplaySettings): Sweep | undefined {
  const { sweep } = settings;
  if (sweep === undefined) return undefined;
  const [over = '', list] = sweep.split('=', 2);
  const name = sweepable.find((candidate) => flagName(candidate) === `--${over}` || candidate === over);
  const known = sweepable.map((candidate) => flagName(candidate).slice(2)).join(', ');
  if (name === undefined || list === undefined)
    throw StatorError.invalid(
      '--sweep',
      `--sweep: ${JSON.stringify(sweep)} is not NAME=VALUE,VALUE,… with a name of ${known}.`,
    );
  if (name === 'numWorkers' && settings.online !== undefined)
    throw StatorError.invalid('--sweep', '--sweep: the workers of a live deployment cannot be swept over.');
  if (name === 'numWorkers' && settings.workerGroups !== undefined)
    throw StatorError.invalid('--sweep', '--sweep: --worker-groups says how many workers there are.');
  return {
    over: flagName(name).slice(2),
    values: list.split(',').map((text) => valueFor(name, text.trim())),
    settingsFor: (value) => ({ ...settings, [name]: value }),
  };
}

function valueFor(name: Sweepable, text: string): number {
  const entry = replaySettings[name];
  const parsed = entry.parse(text);
  if (parsed.ok && parsed.value !== undefined) return parsed.value;
  throw StatorError.invalid('--sweep', `--sweep: ${JSON.stringify(text)} is not ${entry.expects}.`);
}
