import { statSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { Logger } from 'pino';
import { readTlsMaterial, type TlsFiles, type TlsMaterial } from './tls.ts';

/**
 * Looks at the files at intervals, because watches miss what Kubernetes does with symbolic links, and hands over new contents.
 * Contents that do not fit together, as in the middle of a renewal, are left until they do. Returns what ends it.
 */
export function watchTlsFiles(
  files: TlsFiles,
  intervalMs: number,
  log: Logger,
  onChange: (material: TlsMaterial) => void,
): () => void {
  let known = fingerprint(files);
  const timer = setInterval(() => {
    const now = fingerprint(files);
    if (now === known) return;
    try {
      const material = readTlsMaterial(files);
      createSecureContext(material);
      onChange(material);
      known = now;
      log.info('TLS files were read again');
    } catch (thrown) {
      log.warn({ err: thrown }, 'TLS files changed but cannot be used; the old ones stay');
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
