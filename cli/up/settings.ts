import { defineSettings, setting } from '#lib/config/settings.ts';
import { processSettings } from '#lib/service/settings.ts';

const model = 'Model';

export const upSettings = defineSettings({
  model: setting.list({
    default: [],
    group: model,
    help: 'GGUF file, directory of them, or hf:organisation/repository[:file] (HF_TOKEN for private ones); several: one engine each. Default: SmolLM2-135M-Instruct.',
  }),
  modelName: setting.list({
    default: [],
    group: model,
    help: 'Names that clients ask for, in the order of the models; default: from the file names.',
  }),
  engine: setting.choice(['llamacpp', 'mocker'], {
    default: 'llamacpp',
    group: model,
    help: 'llamacpp computes; mocker answers synthetic text, without a model.',
  }),
  replicas: setting.integer({ default: 1, min: 1, max: 64, group: model, help: 'Worker processes.' }),
  prefillReplicas: setting.integer({
    default: 0,
    min: 0,
    max: 64,
    group: model,
    help: 'Worker processes that only compute prompts and hand their KV over to the others, which then only decode. 0: every worker does both.',
  }),
  kvbmHostMib: setting.integer({
    default: 512,
    min: 0,
    unit: 'MiB',
    group: model,
    help: 'Host memory in which a KV block manager keeps KV that the engines have no room for; at most half of the shared memory that is free. 0: none.',
  }),
  maxRestarts: setting.integer({
    default: 5,
    min: 0,
    max: 1000,
    group: model,
    help: 'Restarts of a worker that keeps crashing, before it is given up.',
  }),
  host: setting.string({
    default: '127.0.0.1',
    group: 'Network',
    help: 'Address that the gateway listens on; everything else stays on loopback.',
  }),
  store: setting.string({
    default: '',
    secret: true,
    group: 'Network',
    help: 'Where responses, files, batches and budgets are kept, as the gateway’s. Default: a file of this user for each port; with port 0 memory:.',
  }),
  port: setting.integer({ default: 8000, min: 0, max: 65_535, group: 'Network', help: 'Port of the gateway; 0: any.' }),
  ...processSettings,
  discovery: setting.string({
    default: '',
    group: 'Discovery',
    help: 'file:/directory or etcd:http://host:2379[,…], to share with other processes. Default: a directory of this run.',
  }),
  logLevel: setting.choice(['trace', 'debug', 'info', 'warn', 'error', 'silent'], {
    default: 'warn',
    group: 'Telemetry',
    help: 'Least severity that is logged.',
  }),
});
