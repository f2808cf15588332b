import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Context } from 'mocha';
import { defaultSettings, type SettingsOf } from '#lib/config/settings.ts';
import { openObjectStore } from '#lib/objectstore/open.ts';
import { objectStoreSettings } from '#lib/objectstore/settings.ts';
import type { ObjectStore } from '#lib/objectstore/store.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import { bucket, startAzurite, startVersitygw } from '#tests/support/object-servers.ts';
import { skip } from '#tests/support/skip.ts';

type Config = Partial<SettingsOf<typeof objectStoreSettings>>;

export interface Opened {
  readonly store: ObjectStore;
  readonly telemetry: Telemetry;
}

/** A place for objects, and stores opened on it. */
export interface Place {
  /** Of the server; undefined for a directory. */
  readonly port: number | undefined;
  open(prefix: string, config?: Config): Promise<Opened>;
  dispose(): Promise<void>;
}

export const places = { directory: startDirectory, s3: startS3, azure: startAzure };
export type PlaceName = keyof typeof places;

async function startDirectory(): Promise<Place> {
  const folder = await mkdtemp(path.join(tmpdir(), 'stator-objects-'));
  return {
    port: undefined,
    open: (prefix, config) => openWith({ objectStore: `file:${path.join(folder, prefix)}`, ...config }),
    dispose: () => rm(folder, { recursive: true, force: true }),
  };
}

async function startS3(context: Context): Promise<Place> {
  const server =
    (await startVersitygw()) ?? skip(context, 'no versitygw on this machine: `npm test` builds it with go');
  const own: Config = {
    objectStoreEndpoint: `http://127.0.0.1:${server.port}`,
    objectStoreAccessKeyId: server.accessKeyId,
    objectStoreSecret: server.secret,
  };
  return {
    port: server.port,
    open: (prefix, config) => openWith({ objectStore: `s3://${bucket}/${prefix}`, ...own, ...config }),
    dispose: server.stop,
  };
}

async function startAzure(context: Context): Promise<Place> {
  const server = (await startAzurite()) ?? skip(context, 'no azurite on this machine: `npm test` installs it from npm');
  const { accessKeyId: account, secret } = server;
  const endpoint = (port: number) => `http://127.0.0.1:${port}/${account}`;
  const { BlobServiceClient, StorageSharedKeyCredential } = await import('@azure/storage-blob');
  const admin = new BlobServiceClient(endpoint(server.port), new StorageSharedKeyCredential(account, secret));
  await admin.getContainerClient(bucket).createIfNotExists();
  return {
    port: server.port,
    open: (prefix, config = {}) => {
      const { objectStoreEndpoint: proxied, ...rest } = config;
      return openWith({
        objectStore: `azure://${bucket}/${prefix}`,
        objectStoreAccessKeyId: account,
        objectStoreSecret: secret,
        objectStoreEndpoint: proxied === undefined ? endpoint(server.port) : `${proxied}/${account}`,
        ...rest,
      });
    },
    dispose: server.stop,
  };
}

async function openWith(config: Config): Promise<Opened> {
  const telemetry = quietTelemetry();
  return { telemetry, store: await openObjectStore(defaultSettings(objectStoreSettings, config), telemetry) };
}
