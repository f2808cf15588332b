import { runMain } from '#lib/service/run.ts';
import { kvbmSettings } from './config.ts';
import { startKvbm } from './service.ts';

await runMain({ name: 'kvbm', settings: kvbmSettings, start: (config, parts) => startKvbm(config, parts) });
