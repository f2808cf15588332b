import { create } from '@bufbuild/protobuf';
import { type Reannounce, ReannounceSchema } from '#gen/stator/router/v1/router_pb.ts';
import type { PeerAccounts } from './ports.ts';

/** A reservation as accounts have it. */
export interface Entry {
  readonly key: string;
  readonly reservation: Reannounce;
}

/** Accounts that notice every fault: what is booked twice, ended without having been booked, or counted twice. */
export class StrictAccounts implements PeerAccounts {
  readonly #owners = new Map<string, Map<string, Entry>>();
  readonly #counts = new Map<string, number>();
  readonly workers = new Set<bigint>();
  /** Reservations that count more than once. */
  doubled = 0;
  size = 0;

  entries(): Entry[] {
    return [...this.#owners.values()].flatMap((ofOwner) => [...ofOwner.values()]);
  }

  place(owner: string, requestId: string, key: string, reservation: Reannounce): void {
    const ofOwner = this.#owners.get(owner) ?? new Map<string, Entry>();
    if (ofOwner.has(requestId)) throw new Error(`${owner} has ${requestId} already`);
    this.#owners.set(owner, ofOwner.set(requestId, { key, reservation: { ...reservation } }));
    this.#count(key, 1);
  }

  book(owner: string, requestId: string, reservation: Reannounce): boolean {
    if (!this.workers.has(reservation.instanceId)) return false;
    this.place(owner, requestId, requestId, reservation);
    return true;
  }

  describe(owner: string, requestId: string): Reannounce | undefined {
    const entry = this.#owners.get(owner)?.get(requestId);
    return entry === undefined ? undefined : create(ReannounceSchema, entry.reservation);
  }

  prefillDone(owner: string, requestId: string): void {
    this.#get(owner, requestId).reservation.prefillDone = true;
  }

  output(owner: string, requestId: string, outputTokens: number): void {
    this.#get(owner, requestId).reservation.outputTokens = outputTokens;
  }

  finish(owner: string, requestId: string): void {
    this.#remove(owner, requestId, this.#get(owner, requestId));
  }

  finishIfThere(owner: string, requestId: string): boolean {
    const entry = this.#owners.get(owner)?.get(requestId);
    if (entry !== undefined) this.#remove(owner, requestId, entry);
    return entry !== undefined;
  }

  endOwner(owner: string): void {
    for (const [requestId, entry] of this.#owners.get(owner) ?? []) this.#remove(owner, requestId, entry);
  }

  endWorker(instanceId: bigint): void {
    for (const [owner, ofOwner] of this.#owners)
      for (const [requestId, entry] of ofOwner)
        if (entry.reservation.instanceId === instanceId) this.#remove(owner, requestId, entry);
  }

  #get(owner: string, requestId: string): Entry {
    const entry = this.#owners.get(owner)?.get(requestId);
    if (entry === undefined) throw new Error(`${owner} has no ${requestId}`);
    return entry;
  }

  #remove(owner: string, requestId: string, { key }: Entry): void {
    this.#owners.get(owner)?.delete(requestId);
    this.#count(key, -1);
  }

  #count(key: string, change: 1 | -1): void {
    const count = (this.#counts.get(key) ?? 0) + change;
    if (count === 0) this.#counts.delete(key);
    else this.#counts.set(key, count);
    this.size += change;
    if (change > 0 && count === 2) this.doubled++;
    if (change < 0 && count === 1) this.doubled--;
  }
}
