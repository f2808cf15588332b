import { defineSettings, type SettingsOf } from '#lib/config/settings.ts';
import { diskSettings } from '../disk/settings.ts';
import { objectTierSettings } from '../object/settings.ts';
import { storedSettings } from '../stored/settings.ts';
import { moverSettings } from './settings.ts';

/** Settings of disk, object store and what moves blocks there and back. */
export const storedTierSettings = defineSettings({
  ...diskSettings,
  ...objectTierSettings,
  ...storedSettings,
  ...moverSettings,
});

export type StoredTierConfig = SettingsOf<typeof storedTierSettings>;
