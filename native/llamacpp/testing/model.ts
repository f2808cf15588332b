import { existsSync, readdirSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

// biome-ignore lint/style/noProcessEnv: where a developer's cache is; tests of an addon import nothing of lib.
const { XDG_CACHE_HOME: configured } = process.env;
const folder = path.join(configured || path.join(os.homedir(), '.cache'), 'stator', 'models');

/** SmolLM2-135M-Instruct in the models cache, if it was fetched. */
export const smolLm2 = findModel(/^smollm2-135m-instruct.*\.gguf$/i);

/** Appended to a suite's title, so that a skipped suite says why. */
export const skippedBecause = smolLm2 === undefined ? ` (skipped: no SmolLM2-135M-Instruct GGUF under ${folder})` : '';

function findModel(pattern: RegExp): string | undefined {
  if (!existsSync(folder)) return undefined;
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  const name = names.find((candidate) => pattern.test(path.basename(candidate)));
  return name === undefined ? undefined : path.join(folder, name);
}
