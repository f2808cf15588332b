import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';

interface CachedDigest {
  readonly path: string;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  readonly sha256: string;
}

export interface FileDigest {
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  readonly sha256: Uint8Array;
}

/**
 * SHA-256 of a file. Weights take seconds to minutes to hash, so the result is kept in `cacheDir` and trusted while the
 * file's path, size and modification time stay the same. A cache that cannot be written is no error.
 */
export async function digestFile(file: string, cacheDir: string, signal?: AbortSignal): Promise<FileDigest> {
  const { size: sizeBytes, mtimeMs: modifiedMs } = await stat(file);
  const entry = path.join(
    cacheDir,
    `${createHash('sha256').update(path.resolve(file)).digest('hex').slice(0, 32)}.json`,
  );
  const cached = await readCached(entry);
  if (cached?.path === path.resolve(file) && cached.sizeBytes === sizeBytes && cached.modifiedMs === modifiedMs) {
    return { sizeBytes, modifiedMs, sha256: Buffer.from(cached.sha256, 'hex') };
  }
  const sha256 = await hash(file, signal);
  await writeCached(entry, { path: path.resolve(file), sizeBytes, modifiedMs, sha256: sha256.toString('hex') }).catch(
    () => {},
  );
  return { sizeBytes, modifiedMs, sha256 };
}

async function hash(file: string, signal: AbortSignal | undefined): Promise<Buffer> {
  const digest = createHash('sha256');
  const stream = createReadStream(file, { highWaterMark: 1 << 20, ...(signal === undefined ? {} : { signal }) });
  for await (const chunk of stream) digest.update(chunk);
  return digest.digest();
}

async function readCached(entry: string): Promise<CachedDigest | null> {
  try {
    const value: CachedDigest = JSON.parse(await readFile(entry, 'utf8'));
    return /^[0-9a-f]{64}$/.test(value.sha256) ? value : null;
  } catch {
    return null;
  }
}

async function writeCached(entry: string, value: CachedDigest): Promise<void> {
  await mkdir(path.dirname(entry), { recursive: true });
  const temporary = `${entry}.${process.pid}`;
  await writeFile(temporary, JSON.stringify(value));
  await rename(temporary, entry);
}
