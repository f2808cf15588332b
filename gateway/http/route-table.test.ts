import { expect } from 'chai';
import { type PathRoutes, RouteTable } from './route-table.ts';

const routes: PathRoutes = { GET: { kind: 'plain', run: () => {} } };

describe('route table', () => {
  const table = new RouteTable({ '/a.b': routes, '/a/{id}': routes, '/a/{id}/c': routes, '/m/{id...}': routes });

  it('takes fixed paths, one segment, and the rest', () => {
    expect(table.find('/a.b')?.params).to.deep.equal({});
    expect(table.find('/a/x.y')?.params).to.deep.equal({ id: 'x.y' });
    expect(table.find('/a/1/c')?.params).to.deep.equal({ id: '1' });
    expect(table.find('/m/org/model/ready')?.params).to.deep.equal({ id: 'org/model/ready' });
  });

  it('takes nothing else', () => {
    for (const path of ['/axb', '/a', '/a/', '/a/1/2', '/a/1/c/', '/m/', '/', '', '/A.b'])
      expect(table.find(path), path).to.equal(null);
  });
});
