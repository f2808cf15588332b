import { readFileSync } from 'node:fs';
import type { SecureContextOptions } from 'node:tls';
import { StatorError } from '#lib/errors/errors.ts';

/** Paths of PEM files. They are read again when they change, so that certificates can be renewed without a restart. */
export interface TlsFiles {
  /** Certificate chain; a server needs one, a client only for mutual TLS. */
  readonly cert?: string;
  /** Private key of the certificate. */
  readonly key?: string;
  /** Authorities. On a server: clients must show a certificate of theirs. On a client: instead of the system's. */
  readonly ca?: string;
  /** Name that the server's certificate must carry, where it is not the address's host. Clients only. */
  readonly serverName?: string;
}

export type TlsMaterial = Pick<SecureContextOptions, 'cert' | 'key' | 'ca'>;

/** Reads the files now. Throws StatorError `invalid_argument` naming the file that cannot be read. */
export function readTlsMaterial(files: TlsFiles): TlsMaterial {
  if ((files.cert === undefined) !== (files.key === undefined))
    throw StatorError.invalid('tlsCert', 'tlsCert and tlsKey must be given together');
  return {
    ...(files.cert !== undefined && { cert: read('tlsCert', files.cert) }),
    ...(files.key !== undefined && { key: read('tlsKey', files.key) }),
    ...(files.ca !== undefined && { ca: read('tlsCa', files.ca) }),
  };
}

function read(field: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unreadable';
    throw StatorError.invalid(field, `${field} ${JSON.stringify(file)} cannot be read: ${reason}`, { cause });
  }
}
