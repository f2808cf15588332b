import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** How to get the addon of a folder beside this file: loaded at the first call. Throws where it is not built. */
export function addonOf<Binding>(name: string): () => Binding {
  let loaded: Binding | undefined;
  return () => {
    loaded ??= load<Binding>(name);
    return loaded;
  };
}

function load<Binding>(name: string): Binding {
  const file = new URL(`./${name}/build/Release/${name}.node`, import.meta.url);
  try {
    return createRequire(import.meta.url)(fileURLToPath(file));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(
      `The ${name} addon cannot be loaded: ${reason} Build it with: npm run native, or see: stator doctor.`,
      { cause },
    );
  }
}
