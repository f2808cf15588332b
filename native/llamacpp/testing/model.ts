import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TinyModel, writeTinyModel } from './tiny-model.ts';

// biome-ignore lint/style/noProcessEnv: where a developer's cache is; tests of an addon import nothing of lib.
const { XDG_CACHE_HOME: configured } = process.env;
const folder = path.join(configured || path.join(os.homedir(), '.cache'), 'stator', 'models');

/** SmolLM2-135M-Instruct in the models cache, if it was fetched. */
export const smolLm2 = findModel(/^smollm2-135m-instruct.*\.gguf$/i);

/** Gemma 3 270M in the models cache, if someone put it there: its licence has terms of its own, so nothing fetches it. */
export const gemma3 = findModel(/^gemma-3-270m.*\.gguf$/i);

/** Appended to a suite's title, so that a skipped suite says why. */
export const skippedBecause = smolLm2 === undefined ? ` (skipped: no SmolLM2-135M-Instruct GGUF under ${folder})` : '';

export const gemmaSkippedBecause = gemma3 === undefined ? ` (skipped: no gemma-3-270m GGUF under ${folder})` : '';

function findModel(pattern: RegExp): string | undefined {
  if (!existsSync(folder)) return undefined;
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  const name = names.find((candidate) => pattern.test(path.basename(candidate)));
  return name === undefined ? undefined : path.join(folder, name);
}

/** Calls `use` with the file of a tiny model, which is removed after. */
export async function withTinyModel<T>(model: TinyModel, use: (file: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'stator-tiny-'));
  try {
    const file = path.join(directory, `${model.architecture}.gguf`);
    writeTinyModel(file, model);
    return await use(file);
  } finally {
    rmSync(directory, { recursive: true });
  }
}
