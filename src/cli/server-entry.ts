/**
 * The one way from the command line into the server. It is loaded only when needed: commands that talk to a server
 * start several times faster without it.
 */
import type { Io } from './io.ts';

export interface ServeRequest {
  readonly configFile: string;
  /** `IP:port` in place of the configured address. */
  readonly address?: string | undefined;
}

export interface DevRequest {
  readonly folder: string;
  readonly port: number;
}

export async function startServing(io: Io, request: ServeRequest): Promise<number> {
  const { serve } = await import('../server/index.ts');
  return serve({ ...request, env: { ...io.env }, print: (line) => void io.stdout.write(`${line}\n`) });
}

export async function startDev(io: Io, request: DevRequest): Promise<number> {
  const { dev } = await import('../server/index.ts');
  return dev({ ...request, command: invocation(io), print: (line) => void io.stdout.write(`${line}\n`) });
}

/** How this program was called, for commands to paste: from a checkout there is no `sello` on the path. */
function invocation(io: Io): string {
  const script = process.argv[1] ?? '';
  // npx finds the Node.js of the checkout, whatever the machine's own is.
  return script.endsWith('main.ts') ? 'npx node src/main.ts' : io.program;
}
