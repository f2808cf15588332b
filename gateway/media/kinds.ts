/** Where a format's mark stands in its first bytes. */
interface Mark {
  readonly type: string;
  readonly at: number;
  readonly bytes: string;
  /** A second mark. */
  readonly also?: { readonly at: number; readonly bytes: string };
}

/** What formats begin with: https://mimesniff.spec.whatwg.org/#matching-an-image-type-pattern and the following sections. */
const marks: readonly Mark[] = [
  { type: 'image/png', at: 0, bytes: '\x89PNG\r\n\x1a\n' },
  { type: 'image/jpeg', at: 0, bytes: '\xff\xd8\xff' },
  { type: 'image/gif', at: 0, bytes: 'GIF87a' },
  { type: 'image/gif', at: 0, bytes: 'GIF89a' },
  { type: 'image/webp', at: 0, bytes: 'RIFF', also: { at: 8, bytes: 'WEBPVP' } },
  { type: 'image/bmp', at: 0, bytes: 'BM' },
  { type: 'image/tiff', at: 0, bytes: 'II*\0' },
  { type: 'image/tiff', at: 0, bytes: 'MM\0*' },
  { type: 'audio/wave', at: 0, bytes: 'RIFF', also: { at: 8, bytes: 'WAVE' } },
  { type: 'audio/mpeg', at: 0, bytes: 'ID3' },
  { type: 'audio/mpeg', at: 0, bytes: '\xff\xfb' },
  { type: 'audio/mpeg', at: 0, bytes: '\xff\xf3' },
  { type: 'audio/flac', at: 0, bytes: 'fLaC' },
  { type: 'application/ogg', at: 0, bytes: 'OggS\0' },
  { type: 'video/avi', at: 0, bytes: 'RIFF', also: { at: 8, bytes: 'AVI ' } },
  { type: 'video/mp4', at: 4, bytes: 'ftyp' },
  { type: 'video/webm', at: 0, bytes: '\x1aE\xdf\xa3' },
];

/** Containers that hold sound as well as pictures. */
const containers = new Set(['application/ogg', 'video/mp4', 'video/webm']);

/** Media type of the bytes themselves, whatever anybody says of them; null where they are of no known format. */
export function sniff(bytes: Uint8Array): string | null {
  const head = Buffer.from(bytes.subarray(0, 16)).toString('latin1');
  const found = marks.find(
    ({ at, bytes: mark, also }) =>
      head.startsWith(mark, at) && (also === undefined || head.startsWith(also.bytes, also.at)),
  );
  return found?.type ?? null;
}

/** Whether something of the type can be what a part of a message says it is. */
export function isOfModality(type: string, modality: string): boolean {
  return type.startsWith(`${modality}/`) || (modality !== 'image' && containers.has(type));
}
