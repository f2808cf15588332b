import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { MissingTool } from '#bench/report.ts';

const run = promisify(execFile);

export interface FioJob {
  readonly file: string;
  readonly direction: 'read' | 'write';
  readonly blockBytes: number;
  readonly totalBytes: number;
}

/** GB/s of fio at this block size past the page cache: the better of threads that wait and a ring of 16 requests. */
export async function fioSpeed(job: FioJob): Promise<number> {
  const threads = 4;
  const part = Math.floor(job.totalBytes / threads / job.blockBytes) * job.blockBytes;
  const waiting = await fio(job, [
    ...['--ioengine=psync', `--numjobs=${threads}`, '--thread', `--size=${part}`, `--offset_increment=${part}`],
  ]);
  const ring = await fio(job, ['--ioengine=io_uring', '--iodepth=16', `--size=${job.totalBytes}`]).catch(() => 0);
  return Math.max(waiting, ring);
}

async function fio({ file, direction, blockBytes }: FioJob, more: readonly string[]): Promise<number> {
  const common = ['--name=kv', `--filename=${file}`, `--rw=${direction}`, `--bs=${blockBytes}`, '--direct=1'];
  const { stdout } = await run('fio', [...common, '--group_reporting', '--output-format=json', ...more]).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') throw new MissingTool('the disk is compared with fio: apt-get install fio');
      throw error;
    },
  );
  const report = JSON.parse(stdout) as { readonly jobs: readonly Record<string, { readonly bw_bytes: number }>[] };
  return (report.jobs[0]?.[direction]?.bw_bytes ?? 0) / 1e9;
}
