import { defineSettings, setting } from '#lib/config/settings.ts';
import { processSettings } from '#lib/service/settings.ts';

const place = {
  apiKeysFile: setting.string({ default: 'keys.yaml', help: 'File of API keys (docs/tenants.md).' }),
  apiKeysStore: setting.optionalString({
    secret: true,
    help: 'Store of API keys, instead of the file, as gateways name it: sqlite:/FILE, postgres://…, redis://…, etcd:http://host:2379[,…], or discovery: for the etcd of --discovery.',
  }),
  discovery: processSettings.discovery,
  namespace: processSettings.namespace,
  etcdUsername: processSettings.etcdUsername,
  etcdPassword: processSettings.etcdPassword,
};
const optionalLimit = (help: string) => setting.optionalInteger({ min: 1, help });

export const createKeySettings = defineSettings({
  ...place,
  id: setting.optionalString({ help: 'Name of the key, for logs and for revoking it. Required.' }),
  tenant: setting.optionalString({ help: 'Tenant that it belongs to. Unset: one of its own.' }),
  models: setting.list({ default: [], help: 'Models that it may use, * for any characters. Empty: all.' }),
  expires: setting.optionalString({ help: 'Time from which on it is refused, for example 2027-01-31T00:00:00Z.' }),
  requestsPerMinute: optionalLimit('Requests a minute. Unset: any.'),
  tokensPerMinute: optionalLimit('Tokens of prompts and outputs a minute. Unset: any.'),
  concurrentRequests: optionalLimit('Requests at once. Unset: any.'),
  tokensPerDay: optionalLimit('Tokens a day, UTC. Unset: any.'),
  tokensPerMonth: optionalLimit('Tokens a month, UTC. Unset: any.'),
  maxPriority: setting.optionalInteger({ help: 'Highest priority that its requests may ask for. Unset: any.' }),
  sharedCache: setting.boolean({ default: false, help: 'Whether cached prompts are shared with other tenants.' }),
});

export const listKeysSettings = defineSettings({
  ...place,
  json: setting.boolean({ default: false, help: 'Writes JSON instead of a table.' }),
});

export const revokeKeySettings = defineSettings({
  ...place,
  id: setting.optionalString({ help: 'Name of the key. Required.' }),
});

export const rotateKeySettings = defineSettings({
  ...place,
  id: setting.optionalString({ help: 'Name of the key. Required.' }),
  keepOldSeconds: setting.integer({
    default: 3600,
    min: 0,
    max: 365 * 86_400,
    help: 'Seconds for which the key before this one is good; 0: it is refused at once.',
  }),
});
