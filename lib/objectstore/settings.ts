import { defineSettings, setting } from '#lib/config/settings.ts';

const group = 'Object store';

/** Settings of every process that opens an object store. */
export const objectStoreSettings = defineSettings({
  objectStore: setting.optionalString({
    group,
    help: 's3://BUCKET/PREFIX, azure://CONTAINER/PREFIX or file:/DIRECTORY. Unset: none.',
  }),
  objectStoreEndpoint: setting.optionalString({
    group,
    help: 'URL of the service, where it is not the one of AWS or Azure, for example http://127.0.0.1:9000.',
  }),
  objectStoreRegion: setting.optionalString({ group, help: 'Region of the bucket. Unset: what AWS settings say.' }),
  objectStorePathStyle: setting.choice(['auto', 'path', 'host'], {
    default: 'auto',
    group,
    help: 'Whether the bucket stands in the path or the host name of S3 requests; auto: path with an endpoint.',
  }),
  objectStoreAccessKeyId: setting.optionalString({
    group,
    help: 'Access key of S3 or account name of Azure. Unset for S3: the default chain of AWS (environment, profile, role).',
  }),
  objectStoreSecret: setting.optionalString({
    group,
    secret: true,
    help: 'Secret access key of S3 or account key of Azure.',
  }),
  objectStoreSessionToken: setting.optionalString({
    group,
    secret: true,
    help: 'Session token of temporary S3 credentials, or shared access signature (SAS) of Azure.',
  }),
  objectStoreConcurrency: setting.integer({ default: 16, min: 1, max: 1024, group, help: 'Requests at once.' }),
  objectStoreMaxQueued: setting.integer({
    default: 1024,
    min: 0,
    max: 1_000_000,
    group,
    help: 'Requests that may wait for their turn; more are refused.',
  }),
  objectStoreTimeoutMs: setting.integer({
    default: 30_000,
    min: 1,
    unit: 'milliseconds',
    group,
    help: 'For one call with its retries.',
  }),
  objectStoreAttemptTimeoutMs: setting.integer({
    default: 10_000,
    min: 1,
    unit: 'milliseconds',
    group,
    help: 'For one try.',
  }),
  objectStoreMaxRetries: setting.integer({ default: 3, min: 0, max: 100, group, help: 'Further tries of a call.' }),
  objectStorePartMib: setting.integer({
    default: 8,
    min: 5,
    max: 1024,
    group,
    help: 'Size of a part of streamed uploads, in MiB.',
  }),
});
