import { join } from 'node:path';
import { defaultSettings } from '#lib/config/settings.ts';
import { newInstanceId, openConfiguredDiscovery, openTelemetry } from '#lib/service/parts.ts';
import { Progress } from '../ui/progress.ts';
import { openRunDirectory, runDirectory } from '../up/run-directory.ts';
import { upSettings } from '../up/settings.ts';
import { startStack } from '../up/stack.ts';

export interface OwnGateway {
  readonly url: string;
  stop(): Promise<void>;
}

/** Everything that `stator up` starts, on a free port, for as long as a chat lasts. */
export async function startOwnGateway(model: readonly string[], shutdown: AbortSignal): Promise<OwnGateway> {
  await openRunDirectory();
  const discoveryUrl = `file:${join(runDirectory(), 'discovery')}`;
  const config = defaultSettings(upSettings, { model, port: 0, discovery: discoveryUrl, shutdownGraceSeconds: 1 });
  const instanceId = newInstanceId();
  const telemetry = openTelemetry('chat', config, instanceId);
  const discovery = await openConfiguredDiscovery(config, telemetry);
  const parts = { telemetry, discovery, shutdown, instanceId };
  const close = async (): Promise<void> => {
    await discovery.close();
    await telemetry.shutdown();
  };
  try {
    const progress = new Progress();
    progress.say('No gateway is running; starting one for this chat …');
    const stack = await startStack({ config, parts, file: undefined, extra: [], progress });
    const stop = async (): Promise<void> => {
      await stack.stop();
      await close();
    };
    return { url: `http://${stack.address}`, stop };
  } catch (error) {
    await close();
    throw error;
  }
}
