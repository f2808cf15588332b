/** As S3 writes it: four bytes, the highest first, in base64. */
export function crc32Text(crc32: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc32);
  return bytes.toString('base64');
}

/** Undefined for none, and for a checksum of parts' checksums (`…-3`), which says nothing about the content as a whole. */
export function crc32Of(text: string | undefined): number | undefined {
  if (text === undefined || text.includes('-')) return undefined;
  const bytes = Buffer.from(text, 'base64');
  return bytes.length === 4 ? bytes.readUInt32BE() : undefined;
}
