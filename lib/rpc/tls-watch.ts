import { statSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { Logger } from 'pino';
import { readTlsMaterial, type TlsFiles, type TlsMaterial } from './tls.ts';

export interface TlsWatcher {
  /** New contents that fit together. */
  readonly onChange: (material: TlsMaterial) => void;
  /** Whether the files have changed and cannot be used. */
  readonly onStale?: (isStale: boolean) => void;
  readonly log?: Logger;
}

/**
 * Looks at the files at intervals, because watches miss what Kubernetes does with symbolic links, and hands over new contents.
 * Contents that do not fit together, as in the middle of a renewal, are left until they do. Returns what ends it.
 */
export function watchTlsFiles(files: TlsFiles, intervalMs: number, watcher: TlsWatcher): () => void {
  const { onChange, onStale, log } = watcher;
  let known = fingerprint(files);
  let failed = '';
  const timer = setInterval(() => {
    const now = fingerprint(files);
    if (now === known) {
      if (failed !== '') onStale?.(false);
      failed = '';
      return;
    }
    try {
      const material = readTlsMaterial(files);
      createSecureContext(material);
      onChange(material);
      known = now;
      failed = '';
      onStale?.(false);
      log?.info('TLS files were read again');
    } catch (thrown) {
      // Once for each state of the files: they may stay like this for days.
      if (failed === now) return;
      failed = now;
      onStale?.(true);
      log?.warn({ err: thrown }, 'TLS files changed but cannot be used; the old ones stay');
    }
  }, intervalMs);
  timer.unref();
  return () => clearInterval(timer);
}

function fingerprint(files: TlsFiles): string {
  return [files.cert, files.key, files.ca]
    .map((file) => {
      const stat = file === undefined ? undefined : statSync(file, { throwIfNoEntry: false });
      return stat === undefined ? '' : `${stat.ino}:${stat.mtimeMs}:${stat.size}`;
    })
    .join(' ');
}
