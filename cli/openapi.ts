import { writeFile } from 'node:fs/promises';
import { defineSettings, setting } from '#lib/config/settings.ts';
import { configure } from '#lib/service/configure.ts';
import { runInterruptible } from './run-interruptible.ts';

export const openapiSettings = defineSettings({
  output: setting.optionalString({ short: 'o', help: 'File to write to; unset: standard output.' }),
});

/** `stator openapi`: the document without a gateway. */
export async function writeOpenapi(argv: readonly string[]): Promise<void> {
  const summary = "Writes the REST API's OpenAPI document.";
  const settings = configure({ name: 'openapi', settings: openapiSettings, argv, summary })?.settings;
  if (settings === undefined) return;
  await runInterruptible('openapi', async () => {
    const { buildOpenApi } = await import('#gateway/openapi/document.ts');
    const text = `${JSON.stringify(buildOpenApi(), null, 2)}\n`;
    if (settings.output === undefined) process.stdout.write(text);
    else await writeFile(settings.output, text);
  });
}
