import { type FileHandle, open } from 'node:fs/promises';
import { StatorError } from '#lib/errors/errors.ts';
import { hostMemory } from '#native/hostmem/index.ts';

/** Held by the one block manager whose directory this is, until it is closed or dies. Throws `conflict` while another has it. */
export async function lockFolder(file: string): Promise<FileHandle> {
  const handle = await open(file, 'a+', 0o600);
  if (hostMemory().own(handle.fd)) return handle;
  await handle.close();
  throw new StatorError('conflict', `another block manager uses the directory of ${file}`);
}
