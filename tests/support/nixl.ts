import { existsSync } from 'node:fs';
import path from 'node:path';
import { nixlFolder, nixlLibrary } from '#lib/transfer/nixl/library.ts';
import { toolsDirectory } from './etcd-binary.ts';

export const NO_NIXL = 'no NIXL on this machine: npm test fetches its Python package where there is pip and a registry';

/** NIXL's library as the preparation of the tests fetched it, or undefined. */
export function findNixl(): string | undefined {
  const library = nixlLibrary(undefined);
  return library.startsWith(nixlFolder()) ? library : undefined;
}

/** Where the header of the crate nixl-sys lies, once fetched. */
export function nixlHeader(): string {
  return path.join(toolsDirectory(), 'nixl-sys-1.5.1', 'wrapper.h');
}

export function findNixlHeader(): string | undefined {
  return existsSync(nixlHeader()) ? nixlHeader() : undefined;
}
