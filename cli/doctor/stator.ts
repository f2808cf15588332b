import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { environment } from '#lib/config/environment.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { listCached } from '../models/cache.ts';
import { defaultModelFile } from '../models/default-model.ts';
import { runCommand } from '../models/run-command.ts';
import { defaultSources } from '../models/sources.ts';
import { formatBytes } from '../ui/format.ts';
import { addonFile } from '../up/addons.ts';
import { type Finding, fail, guarded, ok, type Section, warn } from './check.ts';

const addons = ['tokens', 'kvindex', 'llamacpp', 'hostmem', 'nixl'];
const LOAD_MS = 20_000;
const DISCOVERY_MS = 5000;

export interface StatorState {
  readonly section: Section;
  readonly addonsBuilt: boolean;
  readonly modelCached: boolean;
}

export async function statorSection(discovery: string): Promise<StatorState> {
  const cached = await listCached(defaultSources().directory);
  const findings = await Promise.all([
    ...addons.map((name) => guarded(`addon ${name}`, () => addon(name))),
    guarded('discovery', () => discoveryAnswers(discovery)),
  ]);
  const modelCached = cached.some(({ sha256 }) => sha256 === defaultModelFile.sha256);
  const bytes = cached.reduce((sum, model) => sum + model.bytes, 0);
  const models = modelCached
    ? ok('model cache', `${cached.length} files, ${formatBytes(bytes)}, the default model among them`)
    : warn(
        'model cache',
        'the default model is not cached',
        'It is fetched at the first start, or now: stator models pull',
      );
  const addonsBuilt = addons.every((name) => existsSync(addonFile(name)));
  return { section: { name: 'stator', findings: [...findings, models] }, addonsBuilt, modelCached };
}

/** Loads in a process of its own: a broken addon may crash it. */
async function addon(name: string): Promise<Finding> {
  const file = addonFile(name);
  if (!existsSync(file)) return warn(`addon ${name}`, 'not built', 'It is built at the first start: stator up');
  const script = `require(${JSON.stringify(file)})`;
  const { status, output } = await runCommand(process.execPath, ['-e', script], {
    env: environment.variables,
    timeoutMs: LOAD_MS,
  });
  if (status === 0) return ok(`addon ${name}`, 'loads');
  const reason = output.split('\n').find((line) => line.includes('Error')) ?? `ended with ${status}`;
  return fail(`addon ${name}`, reason.trim(), `Build it again: delete ${join(file, '../..')}, then stator up`);
}

async function discoveryAnswers(url: string): Promise<Finding> {
  const telemetry = quietTelemetry();
  const discovery = await openDiscovery(url, { namespace: 'doctor', ttlSeconds: 5, telemetry });
  const watch = discovery.watch(undefined);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), DISCOVERY_MS);
  });
  try {
    const answers = await Promise.race([watch.synced.then(() => true), late]);
    if (answers) return ok('discovery', `${url} answers`);
    return fail('discovery', `${url} does not answer`, 'Start it, or name another with --discovery.');
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return fail('discovery', `${url}: ${reason}`, 'Make the directory writable, or name another with --discovery.');
  } finally {
    clearTimeout(timer);
    watch.close();
    await discovery.close();
  }
}
