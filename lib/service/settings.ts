import { join } from 'node:path';
import { cacheDirectory } from '#lib/config/directories.ts';
import { defineSettings, setting } from '#lib/config/settings.ts';

/** Where processes on this machine find each other unless told otherwise. */
export function defaultDiscoveryUrl(): string {
  return `file:${join(cacheDirectory(), 'discovery')}`;
}

/** Settings of every process that takes part. */
export const processSettings = defineSettings({
  namespace: setting.string({ default: 'default', group: 'Discovery', help: 'Services see only their own namespace.' }),
  discovery: setting.string({
    default: defaultDiscoveryUrl(),
    group: 'Discovery',
    help: 'memory:, file:/directory or etcd:http://host:2379[,…].',
  }),
  discoveryTtlSeconds: setting.integer({
    default: 10,
    min: 1,
    max: 3600,
    unit: 'seconds',
    group: 'Discovery',
    help: 'Seconds after which a silent process is dropped.',
  }),
  etcdUsername: setting.optionalString({ group: 'Discovery', help: 'User name for etcd, where it asks for one.' }),
  etcdPassword: setting.optionalString({ group: 'Discovery', secret: true, help: 'Password of the etcd user.' }),
  logLevel: setting.choice(['trace', 'debug', 'info', 'warn', 'error', 'silent'], {
    default: 'info',
    group: 'Telemetry',
    help: 'Least severity that is logged.',
  }),
  logFormat: setting.choice(['pretty', 'json'], {
    default: 'pretty',
    group: 'Telemetry',
    help: 'Form of log records.',
  }),
  otlpEndpoint: setting.optionalString({
    group: 'Telemetry',
    help: 'OTLP collector for traces, for example http://127.0.0.1:4317.',
  }),
  shutdownGraceSeconds: setting.integer({
    default: 30,
    min: 0,
    max: 86_400,
    unit: 'seconds',
    help: 'Seconds for which running requests may finish after a stop signal.',
  }),
});

/** Settings that every service has. */
export const serviceSettings = defineSettings({
  listen: setting.string({
    default: '127.0.0.1:0',
    group: 'Network',
    help: 'Address and port to listen on; port 0 takes a free one. Anything but loopback needs --internal-token or mutual TLS.',
  }),
  advertise: setting.optionalString({
    group: 'Network',
    help: 'Address and port under which others reach this process.',
  }),
  tlsCert: setting.optionalString({ group: 'Network', help: 'PEM file of the certificate; turns on TLS.' }),
  tlsKey: setting.optionalString({ group: 'Network', help: 'PEM file of the private key.' }),
  tlsCa: setting.optionalString({
    group: 'Network',
    help: 'PEM file of the authority that callers must be signed by: mutual TLS.',
  }),
  tlsReloadSeconds: setting.number({
    default: 5,
    min: 0.01,
    max: 86_400,
    group: 'Network',
    help: 'Seconds between looks at those files; renewed ones are used for new connections without a restart.',
  }),
  internalToken: setting.optionalString({
    group: 'Network',
    secret: true,
    help: 'Token that services show to each other.',
  }),
  ...processSettings,
});
