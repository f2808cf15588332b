import { Gauge, type Registry } from 'prom-client';
import type { ModelCatalog, ModelEntry } from '../models/catalog.ts';

type Limit = 'contextLength' | 'kvBlockSize' | 'kvBlocks' | 'maxSequences' | 'maxBatchedTokens';

/** What models promise, as their card says: dashboards set loads against it. Read when Prometheus asks. */
export function exposeModels(registry: Registry, catalog: ModelCatalog): void {
  const gauge = (name: string, help: string, read: (entry: ModelEntry) => number): void => {
    new Gauge({
      name: `stator_gateway_model_${name}`,
      help,
      labelNames: ['model'],
      registers: [registry],
      collect() {
        // A model that is gone leaves no series behind.
        this.reset();
        for (const entry of catalog.entries()) this.set({ model: entry.name }, read(entry));
      },
    });
  };
  const limit = (name: string, help: string, field: Limit): void =>
    gauge(name, help, ({ card }) => Number(card.limits?.[field] ?? 0));
  gauge('ready', '1 while the model can be asked for.', (entry) => (catalog.isReady(entry) ? 1 : 0));
  gauge('workers', 'Workers that serve the model.', ({ workers }) => workers.size);
  limit('context_length', 'Most tokens of prompt and output together.', 'contextLength');
  limit('kv_cache_block_size', 'Tokens in a KV block.', 'kvBlockSize');
  limit('total_kv_blocks', "KV blocks of one worker's own cache; 0: not told.", 'kvBlocks');
  limit('max_num_seqs', 'Most sequences that one worker computes at once; 0: not told.', 'maxSequences');
  limit('max_num_batched_tokens', 'Most tokens in one forward pass; 0: not told.', 'maxBatchedTokens');
}
