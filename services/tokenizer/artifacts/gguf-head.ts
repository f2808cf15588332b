import { open } from 'node:fs/promises';

/** First guess and bound for the part of a GGUF file before its weights: the largest vocabularies need about 20 MB. */
export const firstHeadBytes = 8 * 1024 * 1024;
export const maxHeadBytes = 256 * 1024 * 1024;

/** Bytes of each fixed-size value type of GGUF's metadata, by its number. */
const scalarBytes = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8] as const;
const stringType = 8;
const arrayType = 9;

/**
 * Length of a GGUF file's head: metadata and tensor list, which is all that a vocabulary needs. Null when `bytes` is too
 * short to tell. Throws SyntaxError when it is no GGUF file of version 2 or 3.
 */
export function ggufHeadLength(bytes: Uint8Array): number | null {
  try {
    return new HeadReader(bytes).length();
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

class HeadReader {
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  length(): number {
    if (this.#u32() !== 0x46554747) throw new SyntaxError('not a GGUF file');
    const version = this.#u32();
    if (version !== 2 && version !== 3) throw new SyntaxError(`GGUF version ${version} is not supported`);
    const tensors = this.#u64();
    const keys = this.#u64();
    for (let i = 0; i < keys; i++) {
      this.#string();
      this.#value(this.#u32());
    }
    for (let i = 0; i < tensors; i++) {
      this.#string();
      // Dimensions, then type and offset.
      this.#skip(this.#u32() * 8 + 4 + 8);
    }
    return this.#at;
  }

  #value(type: number): void {
    if (type === stringType) this.#string();
    else if (type === arrayType) this.#array();
    else this.#skip(scalarSize(type));
  }

  #array(): void {
    const type = this.#u32();
    const count = this.#u64();
    if (type === arrayType || type === stringType) for (let i = 0; i < count; i++) this.#value(type);
    else this.#skip(count * scalarSize(type));
  }

  #string(): void {
    this.#skip(this.#u64());
  }

  #u32(): number {
    const value = this.#view.getUint32(this.#at, true);
    this.#at += 4;
    return value;
  }

  #u64(): number {
    const value = Number(this.#view.getBigUint64(this.#at, true));
    this.#at += 8;
    return value;
  }

  #skip(bytes: number): void {
    if (this.#at + bytes > this.#view.byteLength) throw new RangeError('the head goes on');
    this.#at += bytes;
  }
}

function scalarSize(type: number): number {
  const size = scalarBytes[type];
  if (size === undefined || size === 0) throw new SyntaxError(`GGUF has no value type ${type}`);
  return size;
}

/** Writes a file of full size of which only the head takes room: readers of the vocabulary check the size. */
export async function writeSparse(path: string, head: Uint8Array, sizeBytes: number): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.truncate(sizeBytes);
    await file.write(head, 0, head.length, 0);
  } finally {
    await file.close();
  }
}
