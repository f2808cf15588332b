import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { GatewayConfig } from '#gateway/config.ts';

/** A gateway in a process of its own, with a worker that answers at once; prompts that say `hang` never end. */
export interface GatewayProcess {
  readonly url: string;
  /** Ends it: by SIGTERM with everything told, by SIGKILL as a crash would. */
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

export async function startGatewayProcess(config: Partial<GatewayConfig>): Promise<GatewayProcess> {
  const main = fileURLToPath(new URL('./gateway.fixture.ts', import.meta.url));
  const child: ChildProcess = fork(main, [JSON.stringify(config)], { execArgv: ['--conditions=source'] });
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  const url = await new Promise<string>((resolve, reject) => {
    child.once('message', (message) => resolve(String(message)));
    child.once('exit', (code) => reject(new Error(`the gateway ended with ${code}`)));
  });
  return {
    url,
    end: async (signal) => {
      process.off('exit', kill);
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = once(child, 'exit');
      child.kill(signal);
      await gone;
    },
  };
}
