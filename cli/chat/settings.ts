import { defineSettings, setting } from '#lib/config/settings.ts';

export const DEFAULT_URL = 'http://127.0.0.1:8000';

export const chatSettings = defineSettings({
  url: setting.optionalString({
    help: `Gateway to chat with. Default: ${DEFAULT_URL} if one answers there, else one is started for this chat.`,
  }),
  model: setting.list({
    default: [],
    help: 'Model to ask for; without a gateway, the model to start, as for stator up. Default: the first that is served.',
  }),
  message: setting.optionalString({ short: 'm', help: 'Says this, prints the answer and ends.' }),
  system: setting.optionalString({ short: 's', help: 'System message.' }),
  temperature: setting.optionalNumber({ min: 0, max: 2, help: "Sampling temperature. Default: the gateway's." }),
  maxTokens: setting.optionalInteger({ min: 1, help: 'Most tokens of an answer.' }),
  apiKey: setting.optionalString({ secret: true, help: 'Key for the gateway.' }),
});
