import { runMain } from '#lib/service/run.ts';
import { routerSettings } from './config.ts';
import { startRouter } from './service.ts';

await runMain({ name: 'router', settings: routerSettings, start: (config, parts) => startRouter(config, parts) });
