import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { Binding } from './binding.d.ts';

let loaded: Binding | undefined;

export function binding(): Binding {
  if (loaded !== undefined) return loaded;
  const file = new URL('./build/Release/nixl.node', import.meta.url);
  try {
    const addon: Binding = createRequire(import.meta.url)(fileURLToPath(file));
    loaded = addon;
    return addon;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(
      `The nixl addon cannot be loaded: ${reason} Build it with: npm run native, or see: stator doctor.`,
      { cause },
    );
  }
}
