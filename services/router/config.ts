import { policyNames } from '#core/routing/factory.ts';
import { defineSettings, type SettingsOf, setting } from '#lib/config/settings.ts';
import { serviceSettings } from '#lib/service/settings.ts';
import { costSettings } from './cost-config.ts';
import { disaggregationSettings } from './disaggregation-config.ts';
import { kvBlockSettings } from './kv-blocks.ts';
import { stageSettings } from './modes.ts';
import { peerSettings } from './peers/settings.ts';
import { queueSettings, sessionSettings } from './queue-config.ts';

const group = 'Routing';

export const routerSettings = defineSettings({
  ...serviceSettings,
  mode: setting.choice(policyNames, {
    default: 'kv',
    group,
    help: 'How workers are chosen unless a request says otherwise.',
  }),
  ...stageSettings,
  minInitialWorkers: setting.integer({
    default: 0,
    min: 0,
    max: 100_000,
    group,
    help: 'Workers that the router must have known at once before it places the first request.',
  }),
  inhibitMs: setting.integer({
    default: 2000,
    min: 0,
    max: 600_000,
    group,
    help: 'Milliseconds for which a worker that failed a request is avoided; 0: never.',
  }),
  reservationTtlSeconds: setting.integer({
    default: 600,
    min: 1,
    max: 86_400,
    group,
    help: 'Seconds after which a reservation made without a session ends by itself.',
  }),
  maxReservations: setting.integer({
    default: 100_000,
    min: 1,
    group,
    help: 'Most reservations at once; more are refused as overloaded.',
  }),
  loadPollMs: setting.integer({
    default: 1000,
    min: 50,
    max: 60_000,
    group,
    help: "Milliseconds between two questions for a worker's own load.",
  }),
  busyDecodeBlocks: setting.number({
    default: 0,
    min: 0,
    max: 1,
    group: 'Busy thresholds',
    help: 'Fraction of KV blocks in use above which a worker gets nothing new; 0: off.',
  }),
  busyPrefillTokens: setting.integer({
    default: 0,
    min: 0,
    group: 'Busy thresholds',
    help: 'Waiting prompt tokens above which a worker gets nothing new; 0: off.',
  }),
  busyPrefillTokensFraction: setting.number({
    default: 0,
    min: 0,
    group: 'Busy thresholds',
    help: 'The same as a fraction of the tokens of one pass; 0: off.',
  }),
  ...costSettings,
  ...disaggregationSettings,
  ...kvBlockSettings,
  ...queueSettings,
  ...sessionSettings,
  ...peerSettings,
  rest: setting.boolean({
    default: true,
    group: 'REST',
    help: 'Whether the port also answers the REST interface for choosing workers (docs/router-api.md).',
  }),
  restBodyLimitMib: setting.integer({
    default: 8,
    min: 1,
    max: 1024,
    group: 'REST',
    help: 'Most mebibytes of a REST request.',
  }),
  maxAddedWorkers: setting.integer({
    default: 4096,
    min: 0,
    group,
    help: 'Most workers that calls make known; discovery may know of more.',
  }),
});

export type RouterConfig = SettingsOf<typeof routerSettings>;
