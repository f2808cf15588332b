import { configure } from '#lib/service/configure.ts';
import { exitCodes } from '#lib/service/exit.ts';
import { runInterruptible } from '../run-interruptible.ts';
import { gpuSection } from './gpu.ts';
import { kvSection } from './kv.ts';
import { networkSection } from './network.ts';
import { nixlSection } from './nixl.ts';
import { formatReport } from './report.ts';
import { doctorSettings } from './settings.ts';
import { statorSection } from './stator.ts';
import { systemSection } from './system.ts';
import { toolchainSection } from './toolchain.ts';

/** `stator doctor`: exit code 1 if anything fails; warnings alone are fine. */
export async function doctor(argv: readonly string[]): Promise<void> {
  const summary =
    'Checks system, toolchain, GPU, NIXL, KV memory, network, discovery, addons and models, and says what to do.';
  const settings = configure({ name: 'doctor', settings: doctorSettings, argv, summary })?.settings;
  if (settings === undefined) return;
  await runInterruptible('doctor', async () => {
    const { section, addonsBuilt, modelCached } = await statorSection(settings.discovery);
    const sections = await Promise.all([
      systemSection(),
      toolchainSection(addonsBuilt),
      gpuSection(),
      nixlSection(settings.nixlLibrary),
      kvSection(settings.discovery),
      networkSection({ port: settings.port, modelCached }),
      section,
    ]);
    const failed = sections.some(({ findings }) => findings.some(({ status }) => status === 'fail'));
    process.stdout.write(
      settings.json ? `${JSON.stringify({ ok: !failed, sections }, null, 2)}\n` : formatReport(sections),
    );
    if (failed) process.exitCode = exitCodes.failure;
  });
}
