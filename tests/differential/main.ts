// `npm run differential`: asks this gateway what other servers were asked, and writes docs/compatibility.md.
import { writeFile } from 'node:fs/promises';
import { inProject } from '../../scripts/support/project.ts';
import { say } from '../../scripts/support/say.ts';
import { findDefaultModel } from '../support/model.ts';
import { allDifferences, compatibilityDocument, reasonFor } from './compatibility.ts';
import { askOurs } from './ours.ts';

const model = await findDefaultModel();
if (model === undefined) {
  say('The default model cannot be had.');
  process.exitCode = 1;
} else {
  const differences = await allDifferences(await askOurs(model));
  const unlisted = differences.filter((difference) => reasonFor(difference) === undefined);
  for (const { request, server, place, ours, theirs } of unlisted)
    say(`${server}: ${request}: ${place}: ${ours} here, ${theirs} there`);
  await writeFile(inProject('docs/compatibility.md'), await compatibilityDocument(differences));
  say(`${differences.length} differences, ${unlisted.length} of them without a reason.`);
  process.exitCode = unlisted.length === 0 ? 0 : 1;
}
