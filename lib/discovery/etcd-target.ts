import { readFile } from 'node:fs/promises';
import { rootCertificates } from 'node:tls';
import { StatorError } from '#lib/errors/errors.ts';

/** Secrets and files of an etcd connection. They never travel in the URL, which is printed and logged. */
export interface EtcdOptions {
  readonly username?: string;
  readonly password?: string;
  /** Path of the authority's certificates in PEM form. Default: the authorities that Node knows. */
  readonly caFile?: string;
  /** Paths of the client's certificate and key in PEM form, when the server asks for one. */
  readonly certFile?: string;
  readonly keyFile?: string;
}

/** Which servers, and how to speak to them. */
export interface EtcdTarget {
  /** host:port, at least one. */
  readonly endpoints: readonly string[];
  readonly tls: boolean;
  readonly options: EtcdOptions;
}

export interface EtcdCredentials {
  readonly rootCertificate: Buffer;
  readonly certChain?: Buffer;
  readonly privateKey?: Buffer;
}

const ENDPOINT = /^(?:(https?):\/\/)?(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?\/?$/;

/**
 * Reads `http://a:2379,http://b:2379`, the part of a discovery URL after `etcd:` or `etcds:`. `etcds:` and `https:` mean TLS;
 * `?ca=FILE&cert=FILE&key=FILE` names its files. Throws `invalid_argument`, without the text of the URL: it may hold a secret.
 */
export function parseEtcdTarget(rest: string, o: { tls: boolean; options: EtcdOptions }): EtcdTarget {
  const [list = '', query = ''] = rest.split('?', 2);
  if (list.includes('@')) {
    throw StatorError.invalid('discovery', 'the etcd URL must not hold a user or password: set them as options');
  }
  const parsed = list.split(',').map((text) => parseEndpoint(text.trim()));
  const secure = new Set(parsed.map((endpoint) => endpoint.secure ?? o.tls));
  if (secure.size > 1 || (o.tls && secure.has(false))) {
    throw StatorError.invalid('discovery', 'the etcd endpoints mix http and https');
  }
  const options = { ...parseFiles(query), ...o.options };
  if ((options.certFile === undefined) !== (options.keyFile === undefined)) {
    throw StatorError.invalid('discovery', 'the etcd client certificate needs both a certificate and a key file');
  }
  return { endpoints: parsed.map((endpoint) => endpoint.address), tls: secure.has(true), options };
}

function parseEndpoint(text: string): { address: string; secure: boolean | undefined } {
  const [, scheme, host, port = '2379'] = ENDPOINT.exec(text) ?? [];
  if (host === undefined || Number(port) < 1 || Number(port) > 65_535) {
    throw StatorError.invalid('discovery', 'an etcd endpoint is not http://host:port or https://host:port');
  }
  return { address: `${host}:${port}`, secure: scheme === undefined ? undefined : scheme === 'https' };
}

function parseFiles(query: string): EtcdOptions {
  const parameters = new URLSearchParams(query);
  const fields = { ca: 'caFile', cert: 'certFile', key: 'keyFile' } as const;
  const options: { -readonly [K in keyof EtcdOptions]: EtcdOptions[K] } = {};
  for (const [name, value] of parameters) {
    if (name !== 'ca' && name !== 'cert' && name !== 'key') {
      throw StatorError.invalid('discovery', 'the etcd URL takes only the parameters ca, cert and key');
    }
    options[fields[name]] = value;
  }
  return options;
}

/** The TLS files as they are now; read for every new connection, so that renewed certificates come into use. */
export async function readCredentials(target: EtcdTarget): Promise<EtcdCredentials | undefined> {
  if (!target.tls) return undefined;
  const { caFile, certFile, keyFile } = target.options;
  const rootCertificate = caFile === undefined ? Buffer.from(rootCertificates.join('\n')) : await readFile(caFile);
  if (certFile === undefined || keyFile === undefined) return { rootCertificate };
  return { rootCertificate, certChain: await readFile(certFile), privateKey: await readFile(keyFile) };
}

/** Throws `invalid_argument` when a TLS file cannot be read, so that a wrong path shows at the start. */
export async function checkCredentials(target: EtcdTarget): Promise<void> {
  try {
    await readCredentials(target);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw StatorError.invalid('discovery', `a TLS file for etcd cannot be read: ${message}`, { cause: error });
  }
}
