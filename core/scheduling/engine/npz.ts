/** An array of an npz file: numbers in row-major order. */
export interface NpzArray {
  readonly shape: readonly number[];
  readonly values: Float64Array;
}

/** Decompresses raw deflate. */
export type Inflate = (compressed: Uint8Array) => Uint8Array;

const endOfDirectory = 0x06054b50;
const directoryEntry = 0x02014b50;
const methods = { stored: 0, deflated: 8 } as const;

/** Reads arrays of numbers from what numpy.savez and savez_compressed write. Throws RangeError for anything else. */
export function readNpz(file: Uint8Array, inflate: Inflate): Map<string, NpzArray> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const end = findEnd(view);
  const arrays = new Map<string, NpzArray>();
  let at = view.getUint32(end + 16, true);
  for (let entry = view.getUint16(end + 10, true); entry > 0; entry--) {
    if (at + 46 > file.length || view.getUint32(at, true) !== directoryEntry) throw new RangeError('a broken zip file');
    const nameLength = view.getUint16(at + 28, true);
    const name = new TextDecoder().decode(file.subarray(at + 46, at + 46 + nameLength));
    if (name.endsWith('.npy')) arrays.set(name.slice(0, -4), readNpy(entryBytes(file, view, at, inflate), name));
    at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return arrays;
}

function findEnd(view: DataView): number {
  // A comment of up to 64 KiB may follow.
  for (let at = view.byteLength - 22; at >= Math.max(0, view.byteLength - 65_557); at--)
    if (view.getUint32(at, true) === endOfDirectory) return at;
  throw new RangeError('not a zip file, which npz files are');
}

function entryBytes(file: Uint8Array, view: DataView, entry: number, inflate: Inflate): Uint8Array {
  const method = view.getUint16(entry + 10, true);
  const size = view.getUint32(entry + 20, true);
  const header = view.getUint32(entry + 42, true);
  const start = header + 30 + view.getUint16(header + 26, true) + view.getUint16(header + 28, true);
  const bytes = file.subarray(start, start + size);
  if (method === methods.stored) return bytes;
  if (method === methods.deflated) return inflate(bytes);
  throw new RangeError(`zip entries of method ${method} cannot be read`);
}

const readers: Readonly<Record<string, { readonly size: number; read(view: DataView, at: number): number }>> = {
  '<f8': { size: 8, read: (view, at) => view.getFloat64(at, true) },
  '<f4': { size: 4, read: (view, at) => view.getFloat32(at, true) },
  '<i8': { size: 8, read: (view, at) => Number(view.getBigInt64(at, true)) },
  '<u8': { size: 8, read: (view, at) => Number(view.getBigUint64(at, true)) },
  '<i4': { size: 4, read: (view, at) => view.getInt32(at, true) },
  '<u4': { size: 4, read: (view, at) => view.getUint32(at, true) },
};

/** The npy format, versions 1 to 3 (numpy.lib.format). */
function readNpy(bytes: Uint8Array, name: string): NpzArray {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 12 || bytes[0] !== 0x93 || new TextDecoder().decode(bytes.subarray(1, 6)) !== 'NUMPY')
    throw new RangeError(`${name} is no numpy array`);
  const isFirst = bytes[6] === 1;
  const begin = isFirst ? 10 : 12;
  const data = begin + (isFirst ? view.getUint16(8, true) : view.getUint32(8, true));
  const header = new TextDecoder().decode(bytes.subarray(begin, data));
  const type = /'descr':\s*'([^']+)'/.exec(header)?.[1] ?? '';
  const reader = readers[type];
  if (reader === undefined) throw new RangeError(`${name} holds elements of type '${type}', not numbers`);
  const shape = (/'shape':\s*\(([^)]*)\)/.exec(header)?.[1] ?? '')
    .split(',')
    .filter((part) => part.trim() !== '')
    .map(Number);
  if (shape.length > 1 && /'fortran_order':\s*True/.test(header))
    throw new RangeError(`${name} is stored column by column; only rows are read`);
  const count = shape.reduce((product, length) => product * length, 1);
  if (data + count * reader.size > bytes.length) throw new RangeError(`${name} is cut off`);
  return { shape, values: Float64Array.from({ length: count }, (_, i) => reader.read(view, data + i * reader.size)) };
}
