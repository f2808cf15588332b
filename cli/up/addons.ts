import { existsSync } from 'node:fs';
import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheDirectory } from '#lib/config/directories.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { buildAddon } from '#native/build.ts';
import { withLock } from '../models/cache-lock.ts';

/** Builds the native addons that are missing or outdated; two starts at once build them one time. */
export async function ensureAddons(
  names: readonly string[],
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const options = { signal, onWait: () => say('another process is building the native addons; waiting …') };
  await withLock(join(cacheDirectory(), 'native-build.lock'), options, async () => {
    for (const name of names) {
      try {
        await buildAddon(name, { force: false, variables: {}, say });
      } catch (cause) {
        throw await explained(name, cause);
      }
    }
  });
}

/** Builds what is missing. What is there is taken as it is: an image may hold neither compilers nor a place to write to. */
export async function ensurePresent(
  names: readonly string[],
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const missing = names.filter((name) => !existsSync(addonFile(name)));
  if (missing.length > 0) await ensureAddons(missing, say, signal);
}

export function addonFile(name: string): string {
  return join(addonFolder(name), 'build/Release', `${name}.node`);
}

function addonFolder(name: string): string {
  return join(import.meta.dirname, '../../native', name);
}

async function explained(name: string, cause: unknown): Promise<StatorError> {
  const folder = addonFolder(name);
  const writable = await access(folder, constants.W_OK).then(
    () => true,
    () => false,
  );
  const reason = cause instanceof Error ? cause.message : String(cause);
  const hint = writable ? 'See: stator doctor' : `${folder} cannot be written to: install where you may write.`;
  return new StatorError('not_ready', `The native addon ${name} cannot be built. ${reason}\n${hint}`, { cause });
}
