import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { GypVariables } from '../build.ts';
import { run } from '../run-command.ts';
import { findLibraries, librariesVersion as version } from './libraries.ts';

// Parameter structs travel by value, so the headers must be of the same release as the libraries.
const headersPackage = `node-llama-cpp@${version}`;
const headersIntegrity =
  'sha512-bltIipuWmc123H7tMIgDGKSsSrhmhlQYeVUC48XTjVW7XGJJiJJyCdlTMzQ/LiWoPkGDpcL4FviDpgw7qfTiDw==';
const here = path.dirname(fileURLToPath(import.meta.url));

/** Finds llama.cpp's prebuilt libraries and fetches, once a machine, the headers of the same release. */
export async function prepare(say: (line: string) => void): Promise<GypVariables> {
  const libraries = findLibraries();
  const names = await readdir(libraries);
  const cache = path.join(cacheHome(), 'stator', `llamacpp-${version}`);
  if (!existsSync(path.join(cache, 'include', 'llama.h'))) await fetchHeaders(cache, say);
  return {
    llama_include: cache,
    llama_libraries: libraries,
    llama_rpath: path.relative(path.join(here, 'build', 'Release'), libraries),
    llama_soname: only(names, /^libllama\.v.*\.so$/),
    ggml_soname: only(names, /^libggml\.v.*\.so$/),
  };
}

function only(names: readonly string[], pattern: RegExp): string {
  const found = names.filter((name) => pattern.test(name));
  const [first] = found;
  if (found.length !== 1 || first === undefined)
    throw new Error(`Expected one library like ${pattern}, found ${found.join(', ') || 'none'}.`);
  return first;
}

/** The headers are inside a git bundle inside an npm package of 36 MB; as a dependency it would bring hundreds of MB. */
async function fetchHeaders(cache: string, say: (line: string) => void): Promise<void> {
  await mkdir(path.dirname(cache), { recursive: true });
  const work = await mkdtemp(`${cache}.`);
  try {
    say(`native/llamacpp: fetching headers (${headersPackage}, 36 MB, once) …`);
    await run('npm', ['pack', headersPackage, '--silent', '--pack-destination', work], work);
    const archive = path.join(work, `node-llama-cpp-${version}.tgz`);
    const digest = `sha512-${createHash('sha512')
      .update(await readFile(archive))
      .digest('base64')}`;
    if (digest !== headersIntegrity)
      throw new Error(`${headersPackage} is not what was expected: ${digest}, not ${headersIntegrity}.`);
    await run('tar', ['-xzf', archive, 'package/llama/gitRelease.bundle'], work);
    await run('git', ['clone', '-q', 'package/llama/gitRelease.bundle', 'source'], work);
    const staged = path.join(work, 'staged');
    await cp(path.join(work, 'source', 'include'), path.join(staged, 'include'), { recursive: true });
    await cp(path.join(work, 'source', 'ggml', 'include'), path.join(staged, 'ggml', 'include'), { recursive: true });
    // A parallel build may have been faster; its result is the same.
    if (!existsSync(path.join(cache, 'include', 'llama.h'))) await rename(staged, cache);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

function cacheHome(): string {
  // biome-ignore lint/style/noProcessEnv: the build needs it before anything of lib can run.
  const { XDG_CACHE_HOME: configured } = process.env;
  return configured !== undefined && path.isAbsolute(configured) ? configured : path.join(os.homedir(), '.cache');
}
