import { configure } from '#lib/service/configure.ts';
import { exitCodes } from '#lib/service/exit.ts';
import { runInterruptible } from '../run-interruptible.ts';
import { Progress } from '../ui/progress.ts';
import { withKvbm } from './connect.ts';
import { kvbmVerifySettings } from './settings.ts';
import { tierNamed } from './tier-names.ts';

/** Exit code 1 when blocks were wrong. */
export async function kvbmVerify(argv: readonly string[]): Promise<void> {
  const summary = 'Compares KV blocks with their checksums and drops those that are wrong. Exit code 1: some were.';
  const settings = configure({ name: 'kvbm verify', settings: kvbmVerifySettings, argv, summary })?.settings;
  if (settings === undefined) return;
  const { tier, limit, json } = settings;
  await runInterruptible('kvbm verify', (signal) =>
    withKvbm(settings, async (client) => {
      const progress = new Progress();
      let found = { checked: 0, wrong: 0 };
      for await (const report of client.verify({ tier: tierNamed(tier), limit: BigInt(limit) }, { signal })) {
        found = { checked: Number(report.checked), wrong: Number(report.wrong) };
        progress.transfer('verifying', found.checked, Number(report.total), (blocks) => `${Math.round(blocks)} blocks`);
      }
      progress.endTransfer();
      const { checked, wrong } = found;
      process.stdout.write(
        json ? `${JSON.stringify(found)}\n` : `${checked} blocks checked, ${wrong} wrong and dropped.\n`,
      );
      if (wrong > 0) process.exitCode = exitCodes.failure;
    }),
  );
}
