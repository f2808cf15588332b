import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { findImportCycles } from '../../scripts/check/import-cycles.ts';
import { inProject } from '../../scripts/support/project.ts';
import { runTool } from '../../scripts/support/run.ts';

/** A file that imports what its folder must not: [file, import]. */
const forbidden: readonly (readonly [string, string])[] = [
  ['core/routing/clock.ts', 'node:timers'],
  ['core/routing/schema.ts', 'zod'],
  ['core/routing/store.ts', '#lib/store/store.ts'],
  ['core/routing/hash.ts', '#native/tokens/index.ts'],
  ['core/routing/climb.ts', '../../lib/store/store.ts'],
  ['lib/rpc/pure.ts', '#core/routing/cost.ts'],
  ['lib/rpc/hash.ts', '#native/tokens/index.ts'],
  ['lib/rpc/climb.ts', '../../gateway/service.ts'],
  ['native/tokens/index.ts', '#lib/errors/errors.ts'],
  ['native/tokens/climb.ts', '../../core/routing/cost.ts'],
  ['gateway/routing/local.ts', '#services/router/local.ts'],
  ['gateway/routing/climb.ts', '../../services/router/local.ts'],
  ['gateway/routing/cli.ts', '#cli/main.ts'],
  ['services/router/text.ts', '#services/tokenizer/service.ts'],
  ['services/router/edge.ts', '#gateway/service.ts'],
  ['services/router/handlers/climb.ts', '../../tokenizer/service.ts'],
  ['services/tokenizer/engine.ts', '#services/workers/common/engine.ts'],
  ['services/workers/mocker/other.ts', '#services/workers/llamacpp/service.ts'],
  ['services/workers/mocker/climb.ts', '../llamacpp/service.ts'],
  ['services/workers/llamacpp/router.ts', '#services/router/service.ts'],
  ['services/workers/common/special.ts', '#services/workers/mocker/engine.ts'],
  ['services/tokenizer/stream.ts', '#services/engine-events/zmq-kv-events.ts'],
  ['services/tokenizer/handlers/stream.ts', '../../engine-events/zmq-kv-events.ts'],
  ['services/engine-events/router.ts', '#services/router/service.ts'],
  ['services/engine-events/climb.ts', '../workers/common/engine.ts'],
  ['cli/helper.ts', '#tests/support/cluster.ts'],
];

const allowed: readonly (readonly [string, string])[] = [
  ['core/routing/good.ts', '#gen/stator/router/v1/router_pb.ts'],
  ['core/routing/near.ts', '../tokens/hash.ts'],
  ['lib/rpc/good.ts', '#lib/errors/errors.ts'],
  ['lib/rpc/package.ts', '@connectrpc/connect'],
  ['native/tokens/good.ts', 'node:module'],
  ['gateway/routing/good.ts', '#core/routing/cost.ts'],
  ['gateway/routing/near.ts', '../tokenizer/client.ts'],
  ['services/router/good.ts', '#lib/rpc/server.ts'],
  ['services/router/own.ts', '#services/router/local.ts'],
  ['services/router/handlers/near.ts', '../context.ts'],
  ['services/workers/mocker/good.ts', '#services/workers/common/engine.ts'],
  ['services/workers/mocker/near.ts', '../common/engine.ts'],
  ['services/router/stream.ts', '#services/engine-events/zmq-kv-events.ts'],
  ['services/workers/common/stream.ts', '#services/engine-events/zmq-kv-events.ts'],
  ['services/workers/llamacpp/stream.ts', '#services/engine-events/zmq-kv-events.ts'],
  ['cli/up.ts', '#services/router/service.ts'],
  ['bench/hotpath/main.ts', '#services/router/service.ts'],
];

interface Finding {
  readonly category: string;
  readonly file: string;
}

describe('dependence rules', () => {
  let root: string;
  let findings: readonly Finding[];

  before(async function () {
    this.timeout(180_000);
    root = await mkdtemp(path.join(os.tmpdir(), 'stator-lint-'));
    await copyFile(inProject('biome.json'), path.join(root, 'biome.json'));
    for (const [file, specifier] of [...forbidden, ...allowed]) await put(file, importOf(specifier));
    await put('gateway/settings.ts', "export const home = process.env['HOME'];\n");
    await put('lib/config/environment.ts', "export const home = process.env['HOME'];\n");
    await put('lib/rpc/left.ts', "import { right } from './right.ts';\n\nexport const left = () => right;\n");
    await put('lib/rpc/right.ts', "import { left } from './left.ts';\n\nexport const right = () => left;\n");
    await put('lib/rpc/talk.ts', "console.log('hello');\n");
    await put('lib/rpc/anything.ts', 'export const value: any = 1;\n');
    await put('lib/rpc/long.ts', 'export {};\n'.repeat(401));
    await put(
      'lib/rpc/forgotten.ts',
      'async function save(): Promise<void> {}\nexport function run(): void {\n  save();\n}\n',
    );
    findings = await lint(root);
  });

  after(() => rm(root, { recursive: true, force: true }));

  for (const [file, specifier] of forbidden) {
    it(`${file} may not import ${specifier}`, () => {
      expect(categoriesOf(file)).to.deep.equal(['lint/style/noRestrictedImports']);
    });
  }

  for (const [file, specifier] of allowed) {
    it(`${file} may import ${specifier}`, () => {
      expect(categoriesOf(file)).to.deep.equal([]);
    });
  }

  it('only lib/config reads the environment', () => {
    expect(categoriesOf('gateway/settings.ts')).to.deep.equal(['lint/style/noProcessEnv']);
    expect(categoriesOf('lib/config/environment.ts')).to.deep.equal([]);
  });

  it('refuses import cycles between neighbours', () => {
    expect(categoriesOf('lib/rpc/left.ts')).to.deep.equal(['lint/suspicious/noImportCycles']);
    expect(categoriesOf('lib/rpc/right.ts')).to.deep.equal(['lint/suspicious/noImportCycles']);
  });

  it('refuses console, any, forgotten promises and long files', () => {
    expect(categoriesOf('lib/rpc/talk.ts')).to.deep.equal(['lint/suspicious/noConsole']);
    expect(categoriesOf('lib/rpc/anything.ts')).to.deep.equal(['lint/suspicious/noExplicitAny']);
    expect(categoriesOf('lib/rpc/forgotten.ts')).to.deep.equal(['lint/nursery/noFloatingPromises']);
    expect(categoriesOf('lib/rpc/long.ts')).to.include('lint/style/noExcessiveLinesPerFile');
  });

  it('finds import cycles through folder imports, but not through types', async () => {
    await put('lib/ring/a.ts', "import { b } from '#lib/ring/b.ts';\nexport const a = () => b;\n");
    await put('lib/ring/b.ts', "import {\n  c,\n} from './c.ts';\nexport const b = () => c;\n");
    await put(
      'lib/ring/c.ts',
      "import { a } from '#lib/ring/a.ts';\nimport type { D } from './d.ts';\nexport const c = (d: D) => [a, d];\n",
    );
    await put('lib/ring/d.ts', "import { c } from './c.ts';\nexport type D = typeof c;\n");
    const cycles = await findImportCycles(root);
    expect(cycles.filter((cycle) => cycle[0]?.startsWith('lib/ring/'))).to.deep.equal([
      ['lib/ring/a.ts', 'lib/ring/b.ts', 'lib/ring/c.ts', 'lib/ring/a.ts'],
    ]);
  });

  function categoriesOf(file: string): string[] {
    return findings.filter((finding) => finding.file === file).map((finding) => finding.category);
  }

  async function put(file: string, source: string): Promise<void> {
    await mkdir(path.join(root, path.dirname(file)), { recursive: true });
    await writeFile(path.join(root, file), source);
  }
});

function importOf(specifier: string): string {
  return `import * as imported from '${specifier}';\n\nexport const used = imported;\n`;
}

async function lint(root: string): Promise<Finding[]> {
  const biome = inProject('node_modules/@biomejs/biome/bin/biome');
  const options = ['--vcs-enabled=false', '--max-diagnostics=1000', '--reporter=json'];
  const { output } = await runTool(biome, ['lint', ...options, '.'], { cwd: root });
  const report = JSON.parse(output.slice(output.indexOf('{'), output.lastIndexOf('}') + 1)) as {
    diagnostics: Diagnostic[];
  };
  return report.diagnostics.map(({ category, location }) => ({ category, file: location.path }));
}

interface Diagnostic {
  readonly category: string;
  readonly location: { readonly path: string };
}
