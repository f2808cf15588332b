import { createHash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { type BlockHeader, encodeHeader, type Hash64 } from '#core/blocks/record/block-header.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Seal } from './page.ts';

const keyBytes = 32;
/** Bytes of a tag: room that decryption needs behind the bytes. */
export const tagBytes = 16;
const { subtle } = globalThis.crypto;

interface Key {
  readonly id: Uint8Array;
  readonly key: CryptoKey;
}

/**
 * Encrypts blocks at rest with AES-256-GCM on threads of the pool. The first key of the file encrypts, all of them decrypt, so that keys
 * can be changed without losing what is there. The record is authenticated with the bytes: neither can be exchanged alone.
 */
export class BlockCipher {
  readonly #current: Key;
  readonly #keys: ReadonlyMap<string, Key>;
  readonly #hash: Hash64;

  constructor(keys: readonly [Key, ...Key[]], hash: Hash64) {
    this.#current = keys[0];
    this.#keys = new Map(keys.map((key) => [hex(key.id), key]));
    this.#hash = hash;
  }

  /** The bytes as they are stored, equally many, and their seal. */
  async encrypt(header: BlockHeader, plain: Uint8Array): Promise<{ readonly bytes: Uint8Array; readonly seal: Seal }> {
    // 96 random bits: after 2^32 blocks of one key, two are equal with a chance of 2^-33 (NIST SP 800-38D, 8.3).
    const nonce = new Uint8Array(randomBytes(12));
    const sealed = new Uint8Array(
      await subtle.encrypt(this.#parameters(header, nonce), this.#current.key, borrowed(plain)),
    );
    const seal = { keyId: this.#current.id, nonce, tag: sealed.slice(plain.length) };
    return { bytes: sealed.subarray(0, plain.length), seal };
  }

  /** Whether it has the key. */
  knows(seal: Seal): boolean {
    return this.#keys.has(hex(seal.keyId));
  }

  /**
   * The plain bytes; undefined when the key is unknown or the bytes or the record are not what was sealed. `room` holds the
   * bytes and has `tagBytes` more, which are overwritten.
   */
  async decrypt(header: BlockHeader, room: Uint8Array, seal: Seal): Promise<Uint8Array | undefined> {
    const key = this.#keys.get(hex(seal.keyId));
    if (key === undefined) return undefined;
    room.set(seal.tag, room.length - tagBytes);
    const opened = subtle.decrypt(this.#parameters(header, seal.nonce), key.key, borrowed(room));
    return opened.then(
      (plain) => new Uint8Array(plain),
      () => undefined,
    );
  }

  #parameters(header: BlockHeader, iv: Uint8Array): AesGcmParams {
    // The checksum is of the encrypted bytes and known only afterwards.
    const additionalData = encodeHeader({ ...header, payloadChecksum: 0n, isEncrypted: true }, this.#hash);
    return { name: 'AES-GCM', iv: borrowed(iv), additionalData: borrowed(additionalData), tagLength: 8 * tagBytes };
  }
}

/**
 * Reads a key file: one key a line, 64 hexadecimal digits or 44 of base64 each. Throws `invalid_argument` naming the
 * setting, never the content.
 */
export async function openCipher(file: string, hash: Hash64): Promise<BlockCipher> {
  const content = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw StatorError.invalid('encryptionKeyFile', `encryptionKeyFile cannot be read: ${error.code}`);
  });
  const lines = content.split('\n').filter((line) => line.trim() !== '');
  const keys = await Promise.all(lines.map((line, at) => importKey(line.trim(), at + 1)));
  const [first, ...others] = keys;
  if (first === undefined) throw StatorError.invalid('encryptionKeyFile', 'encryptionKeyFile holds no key');
  return new BlockCipher([first, ...others], hash);
}

async function importKey(line: string, number: number): Promise<Key> {
  const bytes = /^[0-9a-fA-F]{64}$/.test(line) ? Buffer.from(line, 'hex') : Buffer.from(line, 'base64');
  if (bytes.length !== keyBytes)
    throw StatorError.invalid('encryptionKeyFile', `key ${number} of encryptionKeyFile is not of ${keyBytes} bytes`);
  const id = createHash('sha256').update('stator-kv-key').update(bytes).digest();
  const key = await subtle.importKey('raw', borrowed(bytes), 'AES-GCM', false, ['encrypt', 'decrypt']);
  return { id: new Uint8Array(id.subarray(0, 8)), key };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** WebCrypto's types refuse shared memory; the implementation copies what it is given before it returns. */
function borrowed(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes as Uint8Array<ArrayBuffer>;
}
