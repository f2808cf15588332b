import type { BlockHeader, Rejection } from '#core/blocks/record/block-header.ts';
import { type BlockCipher, tagBytes } from './cipher.ts';
import type { StoredPage } from './page.ts';

/** Why a block at rest is not used; a label of a counter. */
export type StoredRejection =
  | Rejection
  /** Its key is not in the key file. */
  | 'wrong_key'
  /** The seal does not fit the record and the bytes. */
  | 'broken_seal'
  /** Everything must be encrypted, and it is not. */
  | 'not_encrypted';

export type Unsealed =
  | { readonly plain: Uint8Array; readonly checksum: bigint; readonly rejection?: never }
  | { readonly rejection: StoredRejection };

/** XXH3-64, seed 0, of many bytes: off the event loop in production. */
export type Checksum = (bytes: Uint8Array) => Promise<bigint>;

export interface SealingParts {
  readonly checksum: Checksum;
  /** Unset: bytes are stored as they are. */
  readonly cipher?: BlockCipher | undefined;
  /** Milliseconds since 1970. */
  readonly wallMs: () => number;
}

/** Turns blocks into what is stored, and back, never believing either side: both are held to their checksums. */
export class Sealing {
  readonly #parts: SealingParts;

  constructor(parts: SealingParts) {
    this.#parts = parts;
  }

  get isEncrypting(): boolean {
    return this.#parts.cipher !== undefined;
  }

  /**
   * What to store of a block whose header says how it is in memory; undefined when its bytes are not those that the
   * header was made for. The bytes are the given ones unless they are encrypted.
   */
  async seal(
    header: BlockHeader,
    plain: Uint8Array,
  ): Promise<{ readonly page: StoredPage; readonly bytes: Uint8Array } | undefined> {
    const { checksum, cipher, wallMs } = this.#parts;
    if (plain.length !== header.payloadBytes || (await checksum(plain)) !== header.payloadChecksum) return undefined;
    if (cipher === undefined) return { page: { header, writtenMs: wallMs(), seal: null }, bytes: plain };
    const { bytes, seal } = await cipher.encrypt(header, plain);
    const sealed = { ...header, isEncrypted: true, payloadChecksum: await checksum(bytes) };
    return { page: { header: sealed, writtenMs: wallMs(), seal }, bytes };
  }

  /**
   * The block's bytes and their checksum. They are the given ones, the first of `room`, unless they were encrypted; then what
   * is behind them is overwritten, and must be `tagBytes` at least.
   */
  async unseal({ header, seal }: StoredPage, room: Uint8Array, length: number): Promise<Unsealed> {
    const { checksum, cipher } = this.#parts;
    const bytes = room.subarray(0, length);
    if (bytes.length !== header.payloadBytes) return { rejection: 'wrong_payloadBytes' };
    if (cipher === undefined && seal !== null) return { rejection: 'wrong_key' };
    // Whoever can write to the store could otherwise plant bytes of their own.
    if (cipher !== undefined && seal === null) return { rejection: 'not_encrypted' };
    if ((await checksum(bytes)) !== header.payloadChecksum) return { rejection: 'payload_checksum' };
    if (cipher === undefined || seal === null) return { plain: bytes, checksum: header.payloadChecksum };
    if (!cipher.knows(seal)) return { rejection: 'wrong_key' };
    const plain = await cipher.decrypt(header, room.subarray(0, length + tagBytes), seal);
    return plain === undefined ? { rejection: 'broken_seal' } : { plain, checksum: await checksum(plain) };
  }
}
