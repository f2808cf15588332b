import { StatorError } from '#lib/errors/errors.ts';
import { configure } from '#lib/service/configure.ts';
import { runInterruptible } from '../run-interruptible.ts';
import { withKvbm } from './connect.ts';
import { kvbmPurgeSettings } from './settings.ts';

export async function kvbmPurge(argv: readonly string[]): Promise<void> {
  const summary =
    "Drops a tenant's KV blocks in every tier, at rest too. The salt is better given as STATOR_CACHE_SALT.";
  const settings = configure({ name: 'kvbm purge', settings: kvbmPurgeSettings, argv, summary })?.settings;
  if (settings === undefined) return;
  const { cacheSalt, json } = settings;
  await runInterruptible('kvbm purge', (signal) =>
    withKvbm(settings, async (client) => {
      if (cacheSalt === undefined || cacheSalt === '')
        throw StatorError.invalid('cacheSalt', 'Say whose blocks: --cache-salt or STATOR_CACHE_SALT.');
      const { blocks, objects } = await client.purge({ cacheSalt }, { signal, timeoutMs: 600_000 });
      const found = { blocks: Number(blocks), objects: Number(objects) };
      process.stdout.write(json ? `${JSON.stringify(found)}\n` : `${blocks} blocks and ${objects} objects are gone.\n`);
    }),
  );
}
