import { gatewaySettings } from '#gateway/config.ts';
import type { SettingTable } from '#lib/config/settings.ts';
import { kvbmSettings } from '#services/kvbm/config.ts';
import { routerSettings } from '#services/router/config.ts';
import { tokenizerSettings } from '#services/tokenizer/config.ts';
import { llamacppSettings } from '#services/workers/llamacpp/config.ts';
import { mockerSettings } from '#services/workers/mocker/config.ts';
import { chatSettings } from './chat/settings.ts';
import { doctorSettings } from './doctor/settings.ts';
import { createKeySettings, listKeysSettings, revokeKeySettings, rotateKeySettings } from './keys/settings.ts';
import {
  kvbmEvictSettings,
  kvbmListSettings,
  kvbmPurgeSettings,
  kvbmStatsSettings,
  kvbmVerifySettings,
} from './kvbm/settings.ts';
import { listModelsSettings, pullModelSettings, removeModelSettings } from './models/settings.ts';
import { openapiSettings } from './openapi.ts';
import { probeSettings } from './probe/settings.ts';
import { compareSettings, replaySettings, showSettings, timelineSettings } from './replay/settings.ts';
import { upSettings } from './up/settings.ts';

/** The settings of every command, by its name. */
export const settingTables: Readonly<Record<string, SettingTable>> = {
  up: upSettings,
  chat: chatSettings,
  doctor: doctorSettings,
  models: listModelsSettings,
  'models pull': pullModelSettings,
  'models rm': removeModelSettings,
  gateway: gatewaySettings,
  tokenizer: tokenizerSettings,
  router: routerSettings,
  kvbm: kvbmSettings,
  'kvbm stats': kvbmStatsSettings,
  'kvbm ls': kvbmListSettings,
  'kvbm evict': kvbmEvictSettings,
  'kvbm verify': kvbmVerifySettings,
  'kvbm purge': kvbmPurgeSettings,
  'worker llamacpp': llamacppSettings,
  'worker mocker': mockerSettings,
  replay: replaySettings,
  'replay compare': compareSettings,
  'replay show': showSettings,
  'replay timeline': timelineSettings,
  'keys create': createKeySettings,
  'keys list': listKeysSettings,
  'keys rotate': rotateKeySettings,
  'keys revoke': revokeKeySettings,
  probe: probeSettings,
  openapi: openapiSettings,
};
