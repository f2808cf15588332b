import { defineSettings, setting } from '#lib/config/settings.ts';

export const listModelsSettings = defineSettings({
  url: setting.optionalString({ help: 'Gateway whose models are listed, for example http://127.0.0.1:8000.' }),
  apiKey: setting.optionalString({ secret: true, help: 'Key for the gateway.' }),
  json: setting.boolean({ default: false, help: 'Writes JSON instead of a table.' }),
});

export const pullModelSettings = defineSettings({
  refresh: setting.boolean({ default: false, help: 'Asks the hub again even if the model is cached.' }),
});

export const removeModelSettings = defineSettings({});
