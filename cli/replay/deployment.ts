import { readFile } from 'node:fs/promises';
import { defaultBlockSizes } from '#core/scheduling/engine/settings.ts';
import { closest } from '#lib/config/nearest.ts';
import { defaultSettings, flagName, type SettingsOf } from '#lib/config/settings.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { type RouterConfig, routerSettings } from '#services/router/config.ts';
import { type MockerConfig, mockerOptions, mockerSettings } from '#services/workers/mocker/config.ts';
import { engineTiming, engineSettings as simulatedSettings } from '#services/workers/mocker/simulation.ts';
import { readTiming } from '#services/workers/mocker/timing-file.ts';
import type { WorkerSpec } from '#sim/cluster/worker-spec.ts';
import { engineSettings, type ReplaySettings, routingSettings } from './settings.ts';

type EngineConfig = SettingsOf<typeof engineSettings>;

const workerRoles = ['aggregated', 'prefill', 'decode'] as const;

/** The simulated workers. Throws `invalid_argument` for settings that do not go together. */
export async function workersOf(settings: ReplaySettings): Promise<WorkerSpec[]> {
  const { numWorkers, numPrefillWorkers, numDecodeWorkers, prefillEngineArgs, decodeEngineArgs } = settings;
  if (settings.workerGroups !== undefined) return groupedWorkers(settings.workerGroups, settings);
  if (numPrefillWorkers > 0 !== numDecodeWorkers > 0)
    throw StatorError.invalid('--num-prefill-workers', '--num-prefill-workers and --num-decode-workers go together.');
  const first = { index: 0 };
  if (numPrefillWorkers === 0) {
    if ((prefillEngineArgs ?? decodeEngineArgs) !== undefined)
      throw StatorError.invalid('--prefill-engine-args', 'Engine settings of one stage need --num-prefill-workers.');
    return stage('aggregated', numWorkers, settings, first);
  }
  const prefill = { ...settings, ...stageConfig('--prefill-engine-args', prefillEngineArgs) };
  const decode = { ...settings, ...stageConfig('--decode-engine-args', decodeEngineArgs) };
  return [
    ...(await stage('prefill', numPrefillWorkers, prefill, first)),
    ...(await stage('decode', numDecodeWorkers, decode, first)),
  ];
}

/** Groups of workers that differ. `text`: a JSON list, or the file that has it. */
async function groupedWorkers(text: string, settings: ReplaySettings): Promise<WorkerSpec[]> {
  const flag = '--worker-groups';
  const groups = parsedJson(flag, text.trimStart().startsWith('[') ? text : await readText(flag, text));
  if (!Array.isArray(groups) || groups.length === 0) throw StatorError.invalid(flag, `${flag} is not a JSON list.`);
  const first = { index: 0 };
  const workers: WorkerSpec[] = [];
  for (const [at, group] of groups.entries()) {
    const name = `${flag}[${at}]`;
    const { count = 1, role = 'aggregated', ...engine } = asObject(name, group);
    const known = workerRoles.find((candidate) => candidate === role);
    if (known === undefined)
      throw StatorError.invalid(flag, `${name}: role ${JSON.stringify(role)} is not one of ${workerRoles.join(', ')}.`);
    if (!Number.isInteger(count) || Number(count) < 1 || Number(count) > 4096)
      throw StatorError.invalid(flag, `${name}: count ${JSON.stringify(count)} is not a whole number from 1 to 4096.`);
    workers.push(...(await stage(known, Number(count), { ...settings, ...engineConfig(name, engine) }, first)));
  }
  return workers;
}

/** The router as the settings say, otherwise at its defaults. */
export function routerConfigOf(settings: ReplaySettings): RouterConfig {
  const own = pick(settings, Object.keys(routingSettings) as (keyof typeof routingSettings)[]);
  return defaultSettings(routerSettings, { ...own, mode: settings.routerMode });
}

/** `next`: the number of the first worker, counted on. */
async function stage(
  role: WorkerSpec['role'],
  count: number,
  config: EngineConfig,
  next: { index: number },
): Promise<WorkerSpec[]> {
  const { engineType, blockSize = defaultBlockSizes[engineType], timingProfile, startupMs, staggerMs } = config;
  const own = pick(config, Object.keys(engineSettings) as (keyof typeof engineSettings)[]);
  const profile = timingProfile === undefined ? undefined : await readTiming(timingProfile);
  const mocker: MockerConfig = defaultSettings(mockerSettings, { ...own, blockSize });
  const options = mockerOptions(mocker, profile);
  return Array.from({ length: count }, () => ({
    role,
    ranks: config.dataParallelSize,
    engine: simulatedSettings(options, 0),
    timing: engineTiming(options),
    readyAfterMs: startupMs + staggerMs * next.index++,
  }));
}

/** Engine settings of one stage. */
function stageConfig(flag: string, text: string | undefined): Partial<EngineConfig> {
  return text === undefined ? {} : engineConfig(flag, asObject(flag, parsedJson(flag, text)));
}

/** Engine settings by their names in the YAML file. */
function engineConfig(flag: string, object: Readonly<Record<string, unknown>>): Partial<EngineConfig> {
  const values: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(object)) {
    const known = Object.entries(engineSettings).find(([key]) => key === name);
    if (known === undefined) {
      const near = closest(name, Object.keys(engineSettings));
      const hint = near === undefined ? '' : ` Did you mean ${near}?`;
      throw StatorError.invalid(flag, `${flag}: an engine has no setting ${JSON.stringify(name)}.${hint}`);
    }
    const [, entry] = known;
    const parsed = entry.parse(Array.isArray(value) ? value.join(',') : String(value));
    if (!parsed.ok)
      throw StatorError.invalid(
        flag,
        `${flag}: ${name} (${flagName(name)}): ${JSON.stringify(value)} is not ${entry.expects}.`,
      );
    values[name] = parsed.value;
  }
  return values;
}

function parsedJson(flag: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw StatorError.invalid(flag, `${flag} is not JSON.`, { cause });
  }
}

async function readText(flag: string, file: string): Promise<string> {
  return readFile(file, 'utf8').catch((cause: unknown) => {
    throw StatorError.invalid(flag, `${flag}: the file ${file} cannot be read.`, { cause });
  });
}

function asObject(flag: string, value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw StatorError.invalid(flag, `${flag} is not a JSON object.`);
  return value as Record<string, unknown>;
}

function pick<T extends object, K extends keyof T>(from: T, names: readonly K[]): Pick<T, K> {
  return Object.fromEntries(names.map((name) => [name, from[name]])) as Pick<T, K>;
}
