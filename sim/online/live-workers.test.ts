import { expect } from 'chai';
import type { ClusterSample } from '../replay/request-record.ts';
import { ReplayRecorder } from '../report/recorder.ts';
import { LiveWorkers } from './live-workers.ts';

describe('LiveWorkers', () => {
  it('names workers as answers come, stages and ranks apart', () => {
    const workers = new LiveWorkers();
    expect(workers.placesOf(undefined)).to.deep.equal({ prefillWorker: -1, worker: -1 });
    expect(workers.placesOf({ prefill: '5/0', decode: '6/1' })).to.deep.equal({ prefillWorker: 0, worker: 1 });
    expect(workers.placesOf({ prefill: '7/0', decode: '7/0' })).to.deep.equal({ prefillWorker: 2, worker: 2 });
    expect(workers.placesOf({ prefill: '5/0', decode: '6/1' })).to.deep.equal({ prefillWorker: 0, worker: 1 });
    expect(workers.list.map(({ name, role }) => [name, role])).to.deep.equal([
      ['prefill 5', 'prefill'],
      ['decode 6 rank 1', 'decode'],
      ['worker 7', 'aggregated'],
    ]);
  });

  it('works out who had how much in flight, and when', () => {
    const workers = new LiveWorkers();
    const { worker: first } = workers.placesOf({ prefill: '1/0', decode: '1/0' });
    const { worker: second } = workers.placesOf({ prefill: '2/0', decode: '2/0' });
    workers.served(first, 0, 600);
    workers.served(first, 300, 600);
    workers.served(second, 300, 400);
    workers.served(-1, 0, 100);
    const seen: Pick<ClusterSample, 'atMs' | 'inFlight' | 'finished'>[] = [];
    const running: number[][] = [];
    const recorder = new ReplayRecorder();
    recorder.sample = ({ atMs, inFlight, finished, ...sample }) => {
      seen.push({ atMs, inFlight, finished });
      running.push([...sample.running]);
    };
    workers.tell(recorder, 600);
    expect(seen[50]).to.deep.equal({ atMs: 50, inFlight: 2, finished: 0 });
    expect(seen[350]).to.deep.equal({ atMs: 350, inFlight: 3, finished: 1 });
    expect(seen[600]).to.deep.equal({ atMs: 600, inFlight: 0, finished: 4 });
    expect([running[50], running[350], running[500], running[600]]).to.deep.equal([
      [1, 0],
      [2, 1],
      [2, 0],
      [0, 0],
    ]);
  });
});
