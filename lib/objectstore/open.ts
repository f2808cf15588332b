import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { SettingsOf } from '#lib/config/settings.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { Backend } from './backend.ts';
import { BackendStore } from './backend-store.ts';
import { DirectoryBackend } from './directory/backend.ts';
import type { objectStoreSettings } from './settings.ts';
import type { ObjectStore } from './store.ts';

type ObjectStoreConfig = SettingsOf<typeof objectStoreSettings>;

/**
 * Opens the store that the settings name. Connects to nothing yet: a wrong credential shows with the first call. Throws
 * `invalid_argument` for a URL that names no store and `unsupported` where its package is not installed.
 */
export async function openObjectStore(
  config: ObjectStoreConfig,
  telemetry: Pick<Telemetry, 'log' | 'metrics'>,
): Promise<ObjectStore> {
  const { name, prefix, scheme } = parse(config.objectStore);
  const backend = await openBackend(scheme, name, config);
  return new BackendStore(backend, {
    prefix,
    concurrency: config.objectStoreConcurrency,
    maxQueued: config.objectStoreMaxQueued,
    maxRetries: config.objectStoreMaxRetries,
    timeoutMs: config.objectStoreTimeoutMs,
    attemptTimeoutMs: config.objectStoreAttemptTimeoutMs,
    firstBackoffMs: 50,
    maximumBackoffMs: 5000,
    partBytes: config.objectStorePartMib * 1024 ** 2,
    partConcurrency: 4,
    telemetry,
  });
}

async function openBackend(scheme: Scheme, name: string, config: ObjectStoreConfig): Promise<Backend> {
  const connections = config.objectStoreConcurrency;
  const endpoint = checkedEndpoint(config.objectStoreEndpoint);
  if (scheme === 'file') return new DirectoryBackend(name);
  if (scheme === 's3') {
    const style = config.objectStorePathStyle;
    const { openS3 } = await import('./s3/open.ts');
    return openS3({
      bucket: name,
      endpoint,
      region: config.objectStoreRegion,
      pathStyle: style === 'auto' ? undefined : style === 'path',
      accessKeyId: config.objectStoreAccessKeyId,
      secretAccessKey: config.objectStoreSecret,
      sessionToken: config.objectStoreSessionToken,
      connections,
    });
  }
  const { openAzure } = await import('./azure/open.ts');
  return openAzure({
    container: name,
    endpoint,
    account: config.objectStoreAccessKeyId,
    accountKey: config.objectStoreSecret,
    sas: config.objectStoreSessionToken,
    connections,
  });
}

type Scheme = 's3' | 'azure' | 'file';

function parse(url: string | undefined): { scheme: Scheme; name: string; prefix: string } {
  const [, scheme, rest = ''] = /^(s3|azure|file):(.+)$/.exec(url ?? '') ?? [];
  if (scheme === 'file') {
    const name = rest.startsWith('//') ? fileURLToPath(`file:${rest}`) : path.resolve(rest);
    return { scheme, name, prefix: '' };
  }
  const [, name = '', prefix = ''] = /^\/\/([a-z0-9][a-z0-9.-]{1,62})(?:\/(.*))?$/.exec(rest) ?? [];
  if ((scheme === 's3' || scheme === 'azure') && name !== '') return { scheme, name, prefix };
  // Not shown: people put keys into URLs.
  const forms = 's3://BUCKET/PREFIX, azure://CONTAINER/PREFIX or file:/DIRECTORY';
  throw StatorError.invalid('objectStore', `objectStore names no object store: use ${forms}`);
}

function checkedEndpoint(endpoint: string | undefined): string | undefined {
  if (endpoint === undefined) return undefined;
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  const http = url?.protocol === 'http:' || url?.protocol === 'https:';
  if (url !== undefined && http && url.username === '' && url.password === '' && url.search === '') return endpoint;
  const message = 'objectStoreEndpoint must be an http:// or https:// URL without credentials or a query';
  throw StatorError.invalid('objectStoreEndpoint', message);
}
