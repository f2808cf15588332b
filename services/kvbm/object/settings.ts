import { defineSettings, setting } from '#lib/config/settings.ts';
import { objectStoreSettings } from '#lib/objectstore/settings.ts';

const group = 'Object tier';

export const objectTierSettings = defineSettings({
  ...objectStoreSettings,
  objectIndexBlocks: setting.integer({
    default: 65_536,
    min: 1,
    group,
    help: 'KV blocks of each layout in the object store (G4) that this node offers to routers; the store may hold more.',
  }),
  objectListBlocks: setting.integer({
    default: 1_000_000,
    min: 0,
    group,
    help: 'Objects of earlier lives and other nodes that are remembered from listings, 24 bytes each; 0: nothing is listed.',
  }),
  objectRecoverBlocks: setting.integer({
    default: 16_384,
    min: 0,
    group,
    help: 'Listed blocks of each namespace, the newest, whose records (4 KiB each) are read so that routers are told of them before anyone loads them; 0: none.',
  }),
  objectLookup: setting.boolean({
    default: true,
    group,
    help: 'Asks the store for the blocks of a prompt that nobody here knows of: finds what other nodes wrote since.',
  }),
  objectAbsentMs: setting.integer({
    default: 10_000,
    min: 0,
    unit: 'milliseconds',
    group,
    help: 'For how long a block that the store lacks is not asked for again.',
  }),
  objectExpiryDays: setting.integer({
    default: 0,
    min: 0,
    group,
    help: 'Days after which the store deletes blocks by a lifecycle rule; 0: no rule is set.',
  }),
});
