import type { FileHandle } from 'node:fs/promises';
import type { Metadata, ObjectInfo } from '../store.ts';

/** Content begins at a page of its own; metadata of 2 KiB fits even where JSON escapes it. */
export const HEADER_BYTES = 8192;
const MAGIC = 'stator-object-1\n';

interface Header {
  readonly size: number;
  readonly crc32: number;
  readonly metadata: Metadata;
}

export async function writeHeader(file: FileHandle, header: Header): Promise<void> {
  const bytes = Buffer.alloc(HEADER_BYTES, ' ');
  bytes.write(`${MAGIC}${JSON.stringify(header)}`);
  await file.write(bytes, 0, HEADER_BYTES, 0);
}

/** Throws an Error with code `EIO` for a file that is no object. */
export async function readHeader(file: FileHandle, key: string): Promise<ObjectInfo> {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES);
  const [{ bytesRead }, stats] = await Promise.all([file.read(bytes, 0, HEADER_BYTES, 0), file.stat()]);
  const text = bytes.toString('utf8', 0, bytesRead);
  if (!text.startsWith(MAGIC)) throw Object.assign(new Error('the file is no object'), { code: 'EIO' });
  const { size, crc32, metadata } = JSON.parse(text.slice(MAGIC.length)) as Header;
  return { key, size, crc32, metadata, modifiedMs: stats.mtimeMs, etag: `${stats.ino}-${stats.mtimeMs}` };
}
