import { defineSettings, setting } from '#lib/config/settings.ts';

export const probeSettings = defineSettings({
  url: setting.optionalString({ help: 'Gateway whose models are probed. Unset: only recorded outputs are.' }),
  apiKey: setting.optionalString({ secret: true, help: 'Key for the gateway.' }),
  model: setting.list({ default: [], help: 'Models to probe. Default: all that the gateway serves.' }),
  recorded: setting.boolean({
    default: true,
    help: 'Whether every parser is probed too: with an output of each kind in its format, and with --recording.',
  }),
  recording: setting.list({ default: [], help: 'File of recorded outputs, as docs/tool-calling.md describes it.' }),
  only: setting.optionalString({ help: 'Regular expression: only probes whose name it matches.' }),
  maxTokens: setting.integer({ default: 512, min: 16, help: 'Most tokens of an answer.' }),
  timeoutSeconds: setting.integer({ default: 120, min: 1, help: 'Seconds for one answer.' }),
  output: setting.optionalString({ short: 'o', help: 'File for the snapshot, JSON.' }),
  baseline: setting.optionalString({ help: 'Earlier snapshot to compare with.' }),
  failOn: setting.choice(['defect', 'any', 'regression', 'never'], {
    default: 'defect',
    help: 'What makes the exit status 1: defect: a failure that is not what the model chose to say; any: any failure; regression: what passed in --baseline and does not now; never: nothing.',
  }),
  json: setting.boolean({ default: false, help: 'Prints the snapshot instead of tables.' }),
});
