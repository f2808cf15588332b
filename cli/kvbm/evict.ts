import { StatorError } from '#lib/errors/errors.ts';
import { configure } from '#lib/service/configure.ts';
import { runInterruptible } from '../run-interruptible.ts';
import { withKvbm } from './connect.ts';
import { kvbmEvictSettings } from './settings.ts';
import { tierNamed } from './tier-names.ts';

export async function kvbmEvict(argv: readonly string[]): Promise<void> {
  const summary = 'Drops KV blocks from a tier: a number of them, or one by its digest.';
  const settings = configure({ name: 'kvbm evict', settings: kvbmEvictSettings, argv, summary })?.settings;
  if (settings === undefined) return;
  const { tier, model, count, digest, json } = settings;
  await runInterruptible('kvbm evict', (signal) =>
    withKvbm(settings, async (client) => {
      if ((count === 0) === (digest === '')) throw StatorError.invalid('count', 'Give either --count or --digest.');
      const request = { tier: tierNamed(tier), model, count: BigInt(count), digest };
      const { evicted } = await client.evict(request, { signal });
      process.stdout.write(
        json ? `${JSON.stringify({ evicted: Number(evicted) })}\n` : `${evicted} blocks left tier ${tier}.\n`,
      );
    }),
  );
}
