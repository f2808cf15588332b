import { existsSync } from 'node:fs';
import path from 'node:path';
import { cacheDirectory } from '#lib/config/directories.ts';

/** Release of NIXL that was tested; newer ones only add functions. */
export const nixlVersion = '1.5.1';

/** Python package that carries NIXL's libraries: the one for CUDA 12 needs no GPU either. */
export const nixlPackage = 'nixl-cu12';

/** Where `pip install --no-deps --target` puts the package for Stator: under the user's cache. */
export function nixlFolder(): string {
  return path.join(cacheDirectory(), `${nixlPackage}-${nixlVersion}`);
}

/**
 * The library to load: what is configured, else the package in the user's cache, else the bare name, which the system's
 * loader looks for.
 */
export function nixlLibrary(configured: string | undefined): string {
  if (configured !== undefined) return configured;
  const cached = path.join(nixlFolder(), `.${nixlPackage.replace('-', '_')}.mesonpy.libs`, 'libnixl_capi.so');
  return existsSync(cached) ? cached : 'libnixl_capi.so';
}
