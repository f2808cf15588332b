import { Registry } from 'prom-client';

/**
 * A registry whose text every reader of the format takes. prom-client writes "Nan" for a value without a sample yet (the
 * event loop's lag right after start), where the format knows "NaN".
 */
export class MetricsRegistry extends Registry {
  override async metrics(): Promise<string> {
    return (await super.metrics()).replaceAll(/ Nan$/gm, ' NaN');
  }
}
