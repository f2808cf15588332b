import { runMain } from '#lib/service/run.ts';
import { gatewaySettings } from './config.ts';
import { startGateway } from './service.ts';

await runMain({ name: 'gateway', settings: gatewaySettings, start: (config, parts) => startGateway(config, parts) });
