import { WorkerRole } from '#gen/stator/model/v1/model_pb.ts';

/** A role in a word; whoever names none does everything. */
export function roleName(role: WorkerRole): string {
  switch (role) {
    case WorkerRole.PREFILL:
      return 'prefill';
    case WorkerRole.DECODE:
      return 'decode';
    case WorkerRole.ENCODE:
      return 'encode';
    default:
      return 'aggregated';
  }
}
