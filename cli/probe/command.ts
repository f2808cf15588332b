import { readFile, writeFile } from 'node:fs/promises';
import { packageVersion } from '#lib/config/package.ts';
import type { SettingsOf } from '#lib/config/settings.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { configure } from '#lib/service/configure.ts';
import { runInterruptible } from '../run-interruptible.ts';
import { Progress } from '../ui/progress.ts';
import { ProbeClient } from './client.ts';
import { probeModels } from './live.ts';
import { probes } from './probes.ts';
import { builtInRecordings, probeRecording, readRecordings } from './recorded.ts';
import { probeSettings } from './settings.ts';
import {
  type Change,
  changesSince,
  isDefect,
  isRegression,
  type ProbeResult,
  parseSnapshot,
  type Snapshot,
} from './snapshot.ts';
import { renderChanges, renderFailures, renderMatrix } from './table.ts';

type ProbeConfig = SettingsOf<typeof probeSettings>;

/** `stator probe`: tool calls, reasoning and structured output of models and parsers, case by case. */
export async function probe(argv: readonly string[]): Promise<void> {
  const summary =
    'Probes tool calls, reasoning and structured output: of the models of a gateway (--url), and of every parser on recorded outputs. Exit status 1: see --fail-on.';
  const config = configure({ name: 'probe', settings: probeSettings, argv, summary })?.settings;
  if (config === undefined) return;
  await runInterruptible('probe', async (signal) => {
    const baseline =
      config.baseline === undefined ? null : parseSnapshot(await readText(config.baseline), config.baseline);
    if (config.failOn === 'regression' && baseline === null) {
      throw StatorError.invalid('failOn', '--fail-on regression needs --baseline.');
    }
    const results = [...(await recordedResults(config)), ...(await liveResults(config, signal))];
    const snapshot: Snapshot = { version: 1, createdAt: new Date().toISOString(), release: packageVersion(), results };
    const changes = baseline === null ? [] : changesSince(baseline, snapshot);
    const text = `${JSON.stringify(snapshot, null, 2)}\n`;
    if (config.output !== undefined) await writeFile(config.output, text);
    if (config.json) process.stdout.write(text);
    else
      process.stdout.write(
        renderMatrix(results) + renderFailures(results) + (baseline === null ? '' : renderChanges(changes)),
      );
    if (fails(config, results, changes)) process.exitCode = 1;
  });
}

async function recordedResults({ recorded, recording, only }: ProbeConfig): Promise<ProbeResult[]> {
  const read = await Promise.all(recording.map(readRecordings));
  const all = [...(recorded ? builtInRecordings() : []), ...read.flat()];
  return all.filter(({ name }) => matches(only, name)).flatMap(probeRecording);
}

async function liveResults(config: ProbeConfig, signal: AbortSignal): Promise<ProbeResult[]> {
  const { url, apiKey, timeoutSeconds, maxTokens } = config;
  if (url === undefined) return [];
  const client = new ProbeClient({ url, apiKey, timeoutMs: timeoutSeconds * 1000 });
  const models = config.model.length > 0 ? config.model : await servedModels(client, url, signal);
  const progress = new Progress();
  const chosen = probes.filter(({ name }) => matches(config.only, name));
  const onResult = (result: ProbeResult): void => {
    if (process.stderr.isTTY)
      progress.say(`${result.outcome} ${result.model} · ${result.probe}${result.streamed ? ' · streamed' : ''}`);
  };
  return probeModels({ client, models, probes: chosen, maxTokens, signal, onResult });
}

async function servedModels(client: ProbeClient, url: string, signal: AbortSignal): Promise<string[]> {
  const models = await client.models(signal).catch((cause: unknown) => {
    throw new StatorError('not_ready', `No gateway answers at ${url}.`, { cause });
  });
  if (models.length === 0) throw StatorError.notFound(`The gateway at ${url} serves no model.`);
  return models;
}

function matches(only: string | undefined, name: string): boolean {
  if (only === undefined) return true;
  try {
    return new RegExp(only, 'u').test(name);
  } catch (cause) {
    throw StatorError.invalid('only', `--only ${only} is no regular expression.`, { cause });
  }
}

function fails({ failOn }: ProbeConfig, results: readonly ProbeResult[], changes: readonly Change[]): boolean {
  switch (failOn) {
    case 'never':
      return false;
    case 'any':
      return results.some(({ outcome }) => outcome === 'fail');
    case 'regression':
      return changes.some(isRegression);
    case 'defect':
      return results.some(isDefect);
  }
}

async function readText(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((cause: unknown) => {
    throw StatorError.invalid('baseline', `${file} cannot be read.`, { cause });
  });
}
