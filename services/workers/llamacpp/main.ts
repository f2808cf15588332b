import { runMain } from '#lib/service/run.ts';
import { llamacppSettings } from './config.ts';
import { startLlamacppWorker } from './service.ts';

await runMain({ name: 'worker llamacpp', settings: llamacppSettings, start: startLlamacppWorker });
