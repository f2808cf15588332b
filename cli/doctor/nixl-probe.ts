// Loads NIXL and asks for its plugins; one line of JSON. A process of its own, because foreign libraries may crash it.
import { Nixl } from '#native/nixl/index.ts';

/** What this writes, one line of JSON. */
export interface NixlProbe {
  readonly failure: string | null;
  readonly plugins: readonly {
    readonly name: string;
    readonly memories: readonly string[];
    readonly failure: string | null;
  }[];
}

const text = (error: unknown): string => (error instanceof Error ? error.message : String(error));

async function ask(library: string): Promise<NixlProbe> {
  await using agent = await new Nixl(library).openAgent({ name: 'stator-doctor' });
  const plugins: NixlProbe['plugins'][number][] = [];
  for (const name of await agent.plugins()) {
    const info = await agent.pluginInfo(name).catch(text);
    plugins.push(
      typeof info === 'string'
        ? { name, memories: [], failure: info }
        : { name, memories: info.memories, failure: null },
    );
  }
  return { failure: null, plugins };
}

const [library = ''] = process.argv.slice(2);
const found = await ask(library).catch((error: unknown): NixlProbe => ({ failure: text(error), plugins: [] }));
process.stdout.write(`${JSON.stringify(found)}\n`);
