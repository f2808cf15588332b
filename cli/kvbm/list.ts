import { toJson } from '@bufbuild/protobuf';
import { type BlockInfo, BlockInfoSchema } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { configure } from '#lib/service/configure.ts';
import { runInterruptible } from '../run-interruptible.ts';
import { formatTable } from '../ui/format.ts';
import { withKvbm } from './connect.ts';
import { kvbmListSettings } from './settings.ts';
import { nameOfTier, tierNamed } from './tier-names.ts';

export async function kvbmList(argv: readonly string[]): Promise<void> {
  const summary = 'Lists KV blocks; with --json one object a line.';
  const settings = configure({ name: 'kvbm ls', settings: kvbmListSettings, argv, summary })?.settings;
  if (settings === undefined) return;
  const { tier, model, limit, json } = settings;
  await runInterruptible('kvbm ls', (signal) =>
    withKvbm(settings, async (client) => {
      const found: BlockInfo[] = [];
      const request = { tier: tierNamed(tier), model, limit: BigInt(limit) };
      for await (const { blocks } of client.listBlocks(request, { signal })) {
        if (json)
          for (const block of blocks) process.stdout.write(`${JSON.stringify(toJson(BlockInfoSchema, block))}\n`);
        else found.push(...blocks);
      }
      if (!json) process.stdout.write(found.length === 0 ? 'No blocks.\n' : tableOf(found));
    }),
  );
}

function tableOf(blocks: readonly BlockInfo[]): string {
  const head = ['digest', 'block', 'model', 'tenant', 'tiers', 'priority', 'pins'];
  const rows = blocks.map(({ digest, position, model, tenant, tiers, priority, pins }) => [
    ...[digest, String(position), model, tenant === '' ? '-' : tenant],
    ...[tiers.map(nameOfTier).join('+'), String(priority), String(pins)],
  ]);
  return formatTable([head, ...rows]);
}
