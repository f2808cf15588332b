import { environment } from '#lib/config/environment.ts';
import { defaultModelWheel } from '../models/default-model.ts';
import { runCommand } from '../models/run-command.ts';
import { defaultSources } from '../models/sources.ts';
import { listenProblem } from '../up/port.ts';
import { type Finding, guarded, ok, type Section, warn } from './check.ts';

const PROBE_MS = 20_000;
const HUB_MS = 5000;

export interface NetworkOptions {
  readonly port: number;
  /** Whether the default model is cached, so that nothing has to be fetched. */
  readonly modelCached: boolean;
}

export async function networkSection({ port, modelCached }: NetworkOptions): Promise<Section> {
  const findings = await Promise.all([
    guarded('port', () => gatewayPort(port)),
    guarded('npm registry', npmRegistry),
    guarded('Python registry', () => pythonRegistry(modelCached)),
    guarded('Hugging Face hub', hub),
  ]);
  return { name: 'network', findings };
}

async function gatewayPort(port: number): Promise<Finding> {
  const problem = await listenProblem('127.0.0.1', port);
  if (problem === undefined) return ok('port', `${port} is free`);
  return warn('port', `${port} cannot be listened on: ${problem}`, 'Start with another: stator up --port 8080');
}

async function npmRegistry(): Promise<Finding> {
  const { status } = await runCommand('npm', ['view', 'node-addon-api', 'version'], probe());
  if (status === 0) return ok('npm registry', 'answers');
  return warn(
    'npm registry',
    'does not answer',
    'Needed only to install or update; check the network and `npm config get registry`.',
  );
}

async function pythonRegistry(modelCached: boolean): Promise<Finding> {
  const { status } = await runCommand('python3', ['-m', 'pip', 'index', 'versions', defaultModelWheel.name], probe());
  if (status === 0) return ok('Python registry', 'answers');
  const detail = 'does not answer';
  if (modelCached) return ok('Python registry', `${detail}; not needed, the default model is cached`);
  return warn('Python registry', detail, 'The default model comes from there when the hub cannot be reached.');
}

async function hub(): Promise<Finding> {
  const { hub: url, hubToken } = defaultSources();
  const token = hubToken === undefined ? 'HF_TOKEN is not set' : 'HF_TOKEN is set';
  try {
    await fetch(url, { method: 'HEAD', signal: AbortSignal.timeout(HUB_MS) });
    return ok('Hugging Face hub', `${url} answers; ${token}`);
  } catch {
    return warn(
      'Hugging Face hub',
      `${url} cannot be reached`,
      'hf: models need it; local files and the default model do not.',
    );
  }
}

function probe(): { env: Readonly<Record<string, string | undefined>>; timeoutMs: number } {
  return { env: environment.variables, timeoutMs: PROBE_MS };
}
