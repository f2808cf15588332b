import { setting } from '#lib/config/settings.ts';

const group = 'Media';

/** Settings of images, audio and video in conversations. docs/security.md tells what they keep out. */
export const mediaSettings = {
  mediaUrls: setting.choice(['any', 'https', 'none'], {
    default: 'any',
    group,
    help: 'Which URLs are fetched: http and https, https alone, or none: then media come inside the request, as data: URLs.',
  }),
  mediaAllowedHosts: setting.list({
    default: [],
    group,
    help: 'Hosts that media are fetched from, *.example.org for all below one. Empty: every public one.',
  }),
  mediaDeniedHosts: setting.list({ default: [], group, help: 'Hosts that they are never fetched from.' }),
  mediaAllowedNetworks: setting.list({
    default: [],
    group,
    help: 'Networks, for example 10.1.0.0/16, that may be fetched from although they are not public.',
  }),
  mediaNameServers: setting.list({
    default: [],
    group,
    help: 'Name servers, as ADDRESS or ADDRESS:PORT, that are asked for those hosts. Empty: those of the system.',
  }),
  mediaPorts: setting.list({ default: ['80', '443'], group, help: 'Ports that may be fetched from.' }),
  mediaMaxMib: setting.number({ default: 16, min: 0.001, max: 1024, group, help: 'Largest medium, in MiB.' }),
  mediaRequestMib: setting.number({
    default: 24,
    min: 0.001,
    max: 1024,
    group,
    help: 'Media of one request together, in MiB.',
  }),
  mediaPerRequest: setting.integer({ default: 16, min: 0, max: 1024, group, help: 'Media of one request at most.' }),
  mediaTimeoutSeconds: setting.number({
    default: 30,
    min: 0.01,
    max: 3600,
    group,
    help: 'Seconds in which a medium must be there, redirects included.',
  }),
  mediaRedirects: setting.integer({ default: 3, min: 0, max: 20, group, help: 'Redirects that are followed.' }),
  mediaFetches: setting.integer({ default: 16, min: 1, max: 1024, group, help: 'Media that are fetched at once.' }),
  mediaFetchQueue: setting.integer({
    default: 256,
    min: 0,
    group,
    help: 'Media that may wait to be fetched; more are refused.',
  }),
};
