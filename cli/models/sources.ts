import { join } from 'node:path';
import { cacheDirectory } from '#lib/config/directories.ts';
import { environment } from '#lib/config/environment.ts';

/** Where models come from and where they are kept. Tests give their own. */
export interface ModelSources {
  /** Folder of the cache. */
  readonly directory: string;
  /** Base URL of the hub. */
  readonly hub: string;
  readonly hubToken: string | undefined;
  /** Environment of pip and python. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export function defaultSources(): ModelSources {
  const variables = environment.variables;
  return {
    directory: join(cacheDirectory(), 'models'),
    hub: (variables['HF_ENDPOINT'] ?? 'https://huggingface.co').replace(/\/+$/, ''),
    hubToken: variables['HF_TOKEN'] || undefined,
    environment: variables,
  };
}
