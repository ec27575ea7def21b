/** CPU time of a process with all that it started, from /proc (proc_pid_stat(5)). */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

interface ProcessStat {
  readonly pid: number;
  readonly parent: number;
  /** User and system time of all its threads. */
  readonly ticks: number;
}

/** Milliseconds of user and system time of `pid` and its descendants, to the clock tick (10 ms). */
export function cpuTimeMs(pid: number): number {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => statOf(Number(name)))
    .filter((stat) => stat !== undefined);
  const family = new Set([pid]);
  for (let grown = true; grown;) {
    grown = false;
    for (const stat of all) {
      if (family.has(stat.pid) || !family.has(stat.parent)) continue;
      family.add(stat.pid);
      grown = true;
    }
  }
  const ticks = all.filter((stat) => family.has(stat.pid)).reduce((sum, stat) => sum + stat.ticks, 0);
  return (ticks * 1000) / ticksPerSecond;
}

/**
 * Milliseconds that the machine's cores spent on any process, or were taken away by the host. Interrupts are left out:
 * loopback traffic makes them, and they belong to no process.
 */
export function machineCpuTimeMs(): number {
  const fields = readFileSync('/proc/stat', 'utf8')
    .split('\n', 1)[0]!
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number);
  const [user = 0, nice = 0, system = 0, , , , , steal = 0] = fields;
  return ((user + nice + system + steal) * 1000) / ticksPerSecond;
}

function statOf(pid: number): ProcessStat | undefined {
  try {
    const text = readFileSync(`/proc/${String(pid)}/stat`, 'utf8');
    // The name in brackets may hold anything: fields count from its end, the state being field 3.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { pid, parent: Number(fields[1]), ticks: Number(fields[11]) + Number(fields[12]) };
  } catch {
    return undefined;
  }
}
