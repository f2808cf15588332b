// A service for run.test.ts, in a process of its own: its behaviour comes from its settings.
import { defineSettings, setting } from '#lib/config/settings.ts';
import { runMain } from './run.ts';
import { serviceSettings } from './settings.ts';

const settings = defineSettings({
  ...serviceSettings,
  stopMs: setting.integer({ default: 0, help: 'How long stopping takes.' }),
  hold: setting.boolean({ default: false, help: 'Leaves a handle open after the stop.' }),
  failure: setting.choice(['none', 'start', 'system', 'usage', 'later', 'uncaught'], {
    default: 'none',
    help: 'Where it fails.',
  }),
});

await runMain({
  name: 'fixture',
  settings,
  start: async (config, parts) => {
    const { StatorError } = await import('#lib/errors/errors.ts');
    if (config.failure === 'start') throw new StatorError('engine_failed', 'it would not start');
    if (config.failure === 'usage') throw StatorError.invalid('failure', 'this is no good');
    if (config.failure === 'system') throw Object.assign(new Error('listen EADDRINUSE'), { syscall: 'listen' });
    if (config.failure === 'uncaught') setTimeout(() => Promise.reject(new Error('nobody catches this')), 10);
    const later = Promise.withResolvers<void>();
    if (config.failure === 'later') setTimeout(() => later.reject(new StatorError('engine_failed', 'it broke')), 10);
    const alive = setInterval(() => {}, 1000);
    process.stdout.write('ready\n');
    return {
      address: 'nowhere:1',
      ended: later.promise,
      stop: async () => {
        process.stdout.write(`stopping ${parts.shutdown.aborted}\n`);
        await new Promise((resolve) => setTimeout(resolve, config.stopMs));
        if (!config.hold) clearInterval(alive);
        process.stdout.write('stopped\n');
      },
    };
  },
});
