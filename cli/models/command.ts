import { basename, relative } from 'node:path';
import { StatorError } from '#lib/errors/errors.ts';
import { configure } from '#lib/service/configure.ts';
import { runInterruptible } from '../run-interruptible.ts';
import { formatBytes, formatTable } from '../ui/format.ts';
import { showModelProgress } from '../ui/model-progress.ts';
import { Progress } from '../ui/progress.ts';
import { type CachedModel, listCached, removeCached } from './cache.ts';
import { ensureModels } from './ensure.ts';
import { listModelsSettings, pullModelSettings, removeModelSettings } from './settings.ts';
import { defaultSources } from './sources.ts';

export async function listModels(argv: readonly string[]): Promise<void> {
  const summary = 'Lists the models of the cache, or with --url those that a running gateway serves.';
  const settings = configure({ name: 'models', settings: listModelsSettings, argv, summary })?.settings;
  if (settings === undefined) return;
  await runInterruptible('models', async (signal) => {
    if (settings.url === undefined) await printCached(settings.json);
    else await printServed(settings.url, settings.apiKey, settings.json, signal);
  });
}

export async function pullModel(argv: readonly string[]): Promise<void> {
  const summary =
    'Fetches a model into the cache: hf:organisation/repository[:file], or without one the default model.';
  const command = { name: 'models pull', settings: pullModelSettings, argv, summary, positional: '[REFERENCE …]' };
  const loaded = configure(command);
  if (loaded === undefined) return;
  await runInterruptible('models pull', async (signal) => {
    const references = loaded.positional.length === 0 ? [''] : loaded.positional;
    for (const reference of references) await pull(reference, loaded.settings.refresh, signal);
  });
}

export async function removeModel(argv: readonly string[]): Promise<void> {
  const summary = 'Removes models from the cache, named as `stator models` lists them.';
  const loaded = configure({ name: 'models rm', settings: removeModelSettings, argv, summary, positional: 'NAME …' });
  if (loaded === undefined) return;
  await runInterruptible('models rm', async () => {
    if (loaded.positional.length === 0) throw StatorError.invalid('NAME', 'Name the models to remove.');
    for (const name of loaded.positional) await remove(name);
  });
}

async function pull(reference: string, refresh: boolean, signal: AbortSignal): Promise<void> {
  const progress = new Progress();
  const models = await ensureModels(reference, { onProgress: showModelProgress(progress), signal, refresh });
  progress.endTransfer();
  for (const { path } of models) process.stdout.write(`${path}\n`);
}

async function remove(name: string): Promise<void> {
  const { directory } = defaultSources();
  const models = await listCached(directory);
  const found = models.filter((model) => [model.path, model.source, basename(model.path)].includes(name));
  const [model] = found;
  if (model === undefined) throw StatorError.notFound(`The cache has no model ${name}. See: stator models`);
  if (found.length > 1) {
    const list = found.map(({ source }) => `  ${source}`).join('\n');
    throw StatorError.invalid('NAME', `${name} is in the cache more than once, name one of:\n${list}`);
  }
  await removeCached(directory, model.path);
  process.stdout.write(`removed ${relative(directory, model.path)} (${formatBytes(model.bytes)})\n`);
}

async function printCached(json: boolean): Promise<void> {
  const models = await listCached(defaultSources().directory);
  if (json) process.stdout.write(`${JSON.stringify(models, null, 2)}\n`);
  else if (models.length === 0)
    process.stdout.write('The cache is empty. Fetch the default model: stator models pull\n');
  else process.stdout.write(formatTable([['NAME', 'SIZE', 'SHA-256', 'SOURCE', 'PATH'], ...models.map(row)]));
}

function row({ path, bytes, sha256, source }: CachedModel): string[] {
  return [basename(path), formatBytes(bytes), sha256.slice(0, 12), source, path];
}

async function printServed(url: string, apiKey: string | undefined, json: boolean, signal: AbortSignal): Promise<void> {
  const headers = apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` };
  const response = await fetch(new URL('/v1/models', url), { headers, signal }).catch((cause: unknown) => {
    throw new StatorError('not_ready', `No gateway answers at ${url}.`, { cause });
  });
  if (!response.ok) throw new StatorError('backend_protocol', `${url} answered ${response.status}.`);
  const { data } = (await response.json()) as { data: { id: string; owned_by?: string }[] };
  if (json) process.stdout.write(`${JSON.stringify(data, null, 2)}\n`);
  else process.stdout.write(formatTable([['NAME', 'OWNER'], ...data.map(({ id, owned_by = '' }) => [id, owned_by])]));
}
