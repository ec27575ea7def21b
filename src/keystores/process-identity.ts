/**
 * Which process wrote a lock or a temporary file, in a form that another process can check. A pid alone comes
 * round again and means nothing in another container, so it goes with the process's start time and the place
 * (boot and pid namespace) in which both are valid.
 */
import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

export interface ProcessIdentity {
  /** Hash of boot id, pid namespace and host name: pids are comparable only where this is equal. */
  readonly place: string;
  readonly pid: number;
  /** Clock ticks from boot to the process's start (proc(5), field 22); `0` where there is no /proc. */
  readonly started: string;
}

/** `alive` and `dead` are certain; `elsewhere` cannot be known from here. */
export type Liveness = 'alive' | 'dead' | 'elsewhere';

let herePlace: string | undefined;

export function identifyProcess(pid: number): ProcessIdentity {
  herePlace ??= createHash('sha256')
    .update(JSON.stringify([read('/proc/sys/kernel/random/boot_id'), namespace(), hostname()]))
    .digest('hex')
    .slice(0, 12);
  return { place: herePlace, pid, started: startTime(pid) };
}

export function livenessOf(identity: ProcessIdentity): Liveness {
  const now = identifyProcess(identity.pid);
  if (now.place !== identity.place) return 'elsewhere';
  if (now.started !== identity.started) return 'dead';
  try {
    process.kill(identity.pid, 0);
    return 'alive';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' ? 'alive' : 'dead';
  }
}

/** For file names: `[0-9a-f.]` only. */
export function formatIdentity(identity: ProcessIdentity): string {
  return `${identity.place}.${identity.pid}.${identity.started}`;
}

export function parseIdentity(text: string): ProcessIdentity | undefined {
  const match = /^([0-9a-f]{12})\.([0-9]{1,10})\.([0-9]{1,20})$/.exec(text);
  return match === null ? undefined : { place: match[1]!, pid: Number(match[2]), started: match[3]! };
}

function startTime(pid: number): string {
  const stat = read(`/proc/${pid}/stat`);
  // The second field, the command in parentheses, may hold spaces and parentheses itself.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  // A zombie has ended: it only waits for its parent.
  return fields[0] === 'Z' || fields[0] === 'X' ? '0' : (fields[19] ?? '0');
}

function namespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return '';
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
