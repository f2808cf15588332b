import { defineSettings, setting } from '#lib/config/settings.ts';
import { defaultDiscoveryUrl } from '#lib/service/settings.ts';
import { transferSettings } from '#lib/transfer/settings.ts';

export const doctorSettings = defineSettings({
  ...transferSettings,
  json: setting.boolean({ default: false, help: 'Writes JSON instead of a tree.' }),
  port: setting.integer({ default: 8000, min: 0, max: 65_535, help: 'Port that the gateway shall have.' }),
  discovery: setting.string({
    default: defaultDiscoveryUrl(),
    help: 'Discovery to try: file:/directory or etcd:http://host:2379[,…].',
  }),
});
