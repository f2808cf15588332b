import { readFile } from 'node:fs/promises';
import { expect } from 'chai';
import { inProject } from '../../scripts/support/project.ts';
import { findDefaultModel } from '../support/model.ts';
import { skip } from '../support/skip.ts';
import { allDifferences, compatibilityDocument, reasonFor } from './compatibility.ts';
import { compare, type Difference } from './differences.ts';
import { askOurs } from './ours.ts';
import { reasons } from './reasons.ts';
import { shapeOf } from './shape.ts';

describe('answers beside those of other servers', function () {
  this.timeout(300_000);
  let differences: Difference[];

  before(async function () {
    const model = await findDefaultModel();
    if (model === undefined) skip(this, 'the default model could not be fetched');
    differences = await allDifferences(await askOurs(model));
  });

  it('differ only where a reason is given', () => {
    expect(differences.filter((difference) => reasonFor(difference) === undefined)).to.deep.equal([]);
  });

  it('have no reason that nothing needs', () => {
    const used = new Set(differences.map(reasonFor));
    expect(reasons.filter((reason) => !used.has(reason)).map(({ title }) => title)).to.deep.equal([]);
  });

  it('are what docs/compatibility.md says', async () => {
    const written = (await readFile(inProject('docs/compatibility.md'), 'utf8')).split('\n');
    const found = (await compatibilityDocument(differences)).split('\n');
    expect(found.filter((line) => !written.includes(line))).to.deep.equal([]);
    expect(written.filter((line) => !found.includes(line))).to.deep.equal([]);
  });
});

describe('comparing answers', () => {
  const ours = { status: 200, media: 'application/json', shape: shapeOf([{ a: 1, b: [{ c: null }, { c: 'x' }] }]) };

  it('sees fields that are missing or of another type, but not what lies within missing ones', () => {
    const theirs = { ...ours, shape: shapeOf([{ a: 'x', d: { e: 1 } }]) };
    const found = compare('r', 's', ours, theirs).map(({ place, ours: mine, theirs: other }) => [place, mine, other]);
    expect(found).to.deep.equal([
      ['a', 'number', 'string'],
      ['b', 'array', 'none'],
      ['d', 'none', 'object'],
    ]);
  });

  it('sees nothing but the status where one refuses', () => {
    const found = compare('r', 's', ours, { status: 400, media: 'text/plain', shape: {} });
    expect(found.map(({ place, theirs }) => [place, theirs])).to.deep.equal([['status', '400']]);
  });
});
