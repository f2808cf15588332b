import { environment } from '#lib/config/environment.ts';
import { runCommand } from '../models/run-command.ts';
import { type Finding, fail, ok, type Section, warn } from './check.ts';

interface Tool {
  readonly name: string;
  readonly commands: readonly (readonly [string, ...string[]])[];
  /** What cannot be done without it. */
  readonly advice: string;
  /** Whether it is needed while addons have to be compiled. */
  readonly builds: boolean;
}

const apt = 'On Debian and Ubuntu: apt-get install build-essential python3 python3-pip git.';

const tools: readonly Tool[] = [
  {
    name: 'npm',
    commands: [['npm', '--version']],
    advice: 'It installs dependencies: comes with Node.',
    builds: false,
  },
  {
    name: 'C++ compiler',
    commands: [
      ['c++', '--version'],
      ['g++', '--version'],
      ['clang++', '--version'],
    ],
    advice: `It compiles the native addons. ${apt}`,
    builds: true,
  },
  { name: 'make', commands: [['make', '--version']], advice: `It compiles the native addons. ${apt}`, builds: true },
  { name: 'python3', commands: [['python3', '--version']], advice: `The native build needs it. ${apt}`, builds: true },
  {
    name: 'pip',
    commands: [
      ['python3', '-m', 'pip', '--version'],
      ['pip3', '--version'],
      ['pip', '--version'],
    ],
    advice: `It fetches the default model where the hub cannot be reached. ${apt}`,
    builds: false,
  },
  { name: 'git', commands: [['git', '--version']], advice: `It unpacks the engine's headers. ${apt}`, builds: true },
];

const PROBE_MS = 20_000;

/** `addonsBuilt`: nothing has to be compiled any more, so that missing compilers are no fault. */
export async function toolchainSection(addonsBuilt: boolean): Promise<Section> {
  const findings = await Promise.all(tools.map((tool) => check(tool, addonsBuilt)));
  return { name: 'toolchain', findings: [node(), ...findings] };
}

function node(): Finding {
  const major = Number(process.versions.node.split('.')[0]);
  const text = `${process.version} at ${process.execPath}`;
  return major >= 24 ? ok('node', text) : fail('node', text, 'Node 24 or newer is needed.');
}

async function check(tool: Tool, addonsBuilt: boolean): Promise<Finding> {
  for (const [program, ...args] of tool.commands) {
    const { status, output } = await runCommand(program, args, { env: environment.variables, timeoutMs: PROBE_MS });
    if (status === 0) return ok(tool.name, output.split('\n')[0]?.trim() ?? '');
  }
  return (tool.builds && !addonsBuilt ? fail : warn)(tool.name, 'not found', tool.advice);
}
