import { setting } from '#lib/config/settings.ts';
import { transferSettings } from '#lib/transfer/settings.ts';

const group = 'Disaggregation';

/** How KV goes from prefill to decode workers. */
export const handoffSettings = {
  ...transferSettings,
  handoffBackends: setting.string({
    default: 'shm,tcp',
    group,
    help: 'Transfer back ends for KV that is handed over, of shm, nixl and tcp; those that this machine lacks are left out.',
  }),
  handoffTtlSeconds: setting.number({
    default: 30,
    min: 0.1,
    max: 3600,
    group,
    help: 'Seconds for which the KV of a prefill waits for its decode worker.',
  }),
  handoffMemoryMib: setting.integer({
    default: 1024,
    min: 1,
    group,
    help: 'MiB of KV that waits, and of KV that is being fetched; decode workers compute what finds no room.',
  }),
};
