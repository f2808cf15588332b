import { join } from 'node:path';
import { packageVersion } from '#lib/config/package.ts';
import { runMain } from '#lib/service/run.ts';
import { Progress } from '../ui/progress.ts';
import { readyBanner } from './banner.ts';
import { openRunDirectory, runDirectory } from './run-directory.ts';
import { upSettings } from './settings.ts';
import { startStack } from './stack.ts';

/** `stator up`: everything on this machine, from nothing to the first token. */
export async function up(argv: readonly string[]): Promise<void> {
  await runMain({
    name: 'up',
    summary: 'Starts gateway, tokenizer and router in one process and the model in supervised workers.',
    settings: upSettings,
    argv,
    passthrough: 'OPTIONS OF THE WORKERS',
    complete: async (config) => {
      await openRunDirectory();
      return config.discovery === '' ? { ...config, discovery: `file:${join(runDirectory(), 'discovery')}` } : config;
    },
    start: async (config, parts, { file, passthrough: extra }) => {
      const progress = new Progress();
      progress.say(`Stator ${packageVersion()}`);
      const stack = await startStack({ config, parts, file, extra, progress });
      const url = `http://${stack.address}`;
      const { models } = stack;
      const { engine, discovery } = config;
      process.stdout.write(readyBanner({ url, models, engine, discovery, elapsed: progress.elapsed }));
      return stack;
    },
  });
}
