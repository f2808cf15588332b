import { defineSettings, type SettingsOf, setting } from '#lib/config/settings.ts';
import { serviceSettings } from '#lib/service/settings.ts';

const tierChoices = ['host', 'disk', 'object'] as const;

/** How a block manager is found: by address, or as the one that discovery lists. */
const target = {
  address: setting.optionalString({
    group: 'Block manager',
    help: 'host:port of the block manager. Default: the one that discovery lists for this machine.',
  }),
  name: setting.optionalString({
    group: 'Block manager',
    help: 'Name of the block manager, where discovery lists several.',
  }),
  discovery: setting.string({
    default: '',
    group: 'Block manager',
    help: 'Where the block manager is looked for. Default: where services of this machine register, those of `stator up` included.',
  }),
  namespace: serviceSettings.namespace,
  tlsCert: serviceSettings.tlsCert,
  tlsKey: serviceSettings.tlsKey,
  tlsCa: serviceSettings.tlsCa,
  internalToken: serviceSettings.internalToken,
  json: setting.boolean({ default: false, help: 'Writes JSON instead of a table.' }),
};

const anyTier = setting.choice(['all', ...tierChoices], { default: 'all', help: 'Tier.' });

export const kvbmStatsSettings = defineSettings({ ...target });

export const kvbmListSettings = defineSettings({
  ...target,
  tier: anyTier,
  model: setting.string({ default: '', help: 'Only blocks of this model.' }),
  limit: setting.integer({ default: 100, min: 0, help: 'Most blocks; 0: all.' }),
});

export const kvbmEvictSettings = defineSettings({
  ...target,
  tier: setting.choice(tierChoices, { default: 'host', help: 'Tier.' }),
  model: setting.string({ default: '', help: 'Only blocks of this model.' }),
  count: setting.integer({ default: 0, min: 0, help: 'How many blocks go, those first that would go next.' }),
  digest: setting.string({ default: '', help: 'Digest of the one block that goes, as `stator kvbm ls` shows it.' }),
});

export const kvbmVerifySettings = defineSettings({
  ...target,
  tier: anyTier,
  limit: setting.integer({ default: 0, min: 0, help: 'Most blocks; 0: all.' }),
});

export const kvbmPurgeSettings = defineSettings({
  ...target,
  cacheSalt: setting.optionalString({ secret: true, help: 'Salt of the tenant whose blocks are dropped.' }),
});

/** What every command of a running block manager has. */
export type KvbmTarget = SettingsOf<typeof kvbmStatsSettings>;
