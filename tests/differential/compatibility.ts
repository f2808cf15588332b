import { readdir, readFile } from 'node:fs/promises';
import { inProject } from '../../scripts/support/project.ts';
import type { Answered } from './ask.ts';
import { compare, type Difference } from './differences.ts';
import { type Reason, reasons } from './reasons.ts';

/** What another server answered when it was recorded. */
interface Recording {
  readonly server: string;
  readonly answers: Readonly<Record<string, Answered>>;
}

/** Every way in which our answers differ from what other servers answered. */
export async function allDifferences(ours: Readonly<Record<string, Answered>>): Promise<Difference[]> {
  const found: Difference[] = [];
  const folder = inProject('tests/differential/recorded');
  for (const file of (await readdir(folder)).sort()) {
    const { answers } = JSON.parse(await readFile(`${folder}/${file}`, 'utf8')) as Recording;
    const server = file.replace('.json', '');
    for (const [request, theirs] of Object.entries(answers)) {
      const mine = ours[request];
      if (mine !== undefined) found.push(...compare(request, server, mine, theirs));
    }
  }
  return found;
}

/** The first reason that holds for a difference; undefined: nobody has given one. */
export function reasonFor(difference: Difference): Reason | undefined {
  return reasons.find(
    ({ request, server, place, theirs }) =>
      (request === undefined || request.test(difference.request)) &&
      (server === undefined || server === difference.server) &&
      (theirs === undefined || theirs.test(difference.theirs)) &&
      place.test(difference.place),
  );
}

const head = `# Compatibility

Written by \`npm run differential\`, which asks this gateway what other servers were asked, and compares status, content type, framing of
streams, and the types of all fields; \`npm test\` fails where a difference is not listed here. \`tests/differential/requests.ts\` has the
requests, \`tests/differential/reasons.ts\` the reasons, \`tests/differential/recorded\` what the others answered:
`;

const foot = `
Chats, their chunks, models, files and counts of tokens are of the types that \`openai\` and \`@anthropic-ai/sdk\` publish: the compiler checks
it in \`tests/conformance/published-types.test.ts\`.

To record a server again, start it with any chat model and run \`tests/differential/record.ts NAME URL MODEL "WHAT IT IS"\`. These had the weights of
one file (vLLM's turned into bfloat16) and were started as:

\`\`\`
llama-server -m SmolLM2-135M-Instruct.Q4_1.gguf --jinja -c 1024 -np 2 -t 1
vllm serve SmolLM2-135M-Instruct --max-model-len 4096 --enforce-eager --block-size 32 --enable-auto-tool-choice --tool-call-parser hermes
\`\`\`
`;

/** docs/compatibility.md. */
export async function compatibilityDocument(differences: readonly Difference[]): Promise<string> {
  const folder = inProject('tests/differential/recorded');
  let text = head;
  for (const file of (await readdir(folder)).sort()) {
    const { server, answers } = JSON.parse(await readFile(`${folder}/${file}`, 'utf8')) as Recording;
    text += `\n- \`${file.replace('.json', '')}\`: ${server}, ${Object.keys(answers).length} requests`;
  }
  for (const reason of reasons) {
    const own = differences.filter((difference) => reasonFor(difference) === reason);
    text += `\n\n## ${reason.title}\n\n${reason.because}\n\n| request | place | here | there | server |\n|---|---|---|---|---|\n`;
    text += rowsOf(own).join('\n');
  }
  return `${text}\n${foot}`;
}

/** One row for each difference, whatever the requests that show it; servers are together where the same requests do. */
function rowsOf(differences: readonly Difference[]): string[] {
  const requestsOf = grouped(
    differences,
    (one) => `${cellsOf(one)} | ${one.server}`,
    (one) => one.request,
  );
  const rows = [...requestsOf].map(([key, requests]) => {
    const cut = key.lastIndexOf(' | ');
    return { row: `| ${shortened(requests)} | ${key.slice(0, cut)}`, server: key.slice(cut + 3) };
  });
  const serversOf = grouped(
    rows,
    ({ row }) => row,
    ({ server }) => server,
  );
  return [...serversOf].map(([row, servers]) => `${row} | ${servers.join(', ')} |`);
}

function cellsOf({ place, ours, theirs }: Difference): string {
  // Events of a response that hold all of it differ in the same fields.
  const where = place.replace(/^response\.(created|in_progress|completed|incomplete)\.response\./, '….response.');
  return [where, ours, theirs].map((cell) => `\`${cell.replaceAll('|', '\\|')}\``).join(' | ');
}

function shortened(requests: readonly string[]): string {
  if (requests.length <= 3) return requests.join('; ');
  return `${requests.slice(0, 2).join('; ')}; ${requests.length - 2} more`;
}

function grouped<T>(items: readonly T[], key: (item: T) => string, value: (item: T) => string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const item of items) {
    const values = found.get(key(item)) ?? [];
    if (!values.includes(value(item))) values.push(value(item));
    found.set(key(item), values);
  }
  return found;
}
