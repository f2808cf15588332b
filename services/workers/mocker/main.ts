import { runMain } from '#lib/service/run.ts';
import { mockerSettings } from './config.ts';
import { startMockerWorker } from './service.ts';

await runMain({ name: 'worker mocker', settings: mockerSettings, start: startMockerWorker });
