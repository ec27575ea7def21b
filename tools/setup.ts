/**
 * Builds the real servers and clients that tests need, ahead of them: `npm run setup [NAME…]`.
 * Cached outside git, so that a second run takes no time. Exits 1 when one cannot be built.
 */
import { debianPrograms, findProgram, type DebianProgram } from '../test/real/debian-programs.ts';
import { buildTool, ToolMissing, tools, type ToolName } from '../test/real/tools.ts';

const asked = process.argv.slice(2);
const known = Object.keys(tools) as ToolName[];
const unknown = asked.filter((name) => !(name in tools));
if (unknown.length > 0) {
  console.error(`unknown: ${unknown.join(', ')}; there are ${known.join(', ')}`);
  process.exit(2);
}

const wanted = asked.length === 0 ? known : known.filter((name) => asked.includes(name));
for (const [index, name] of wanted.entries()) {
  const step = `[${String(index + 1)}/${String(wanted.length)}]`;
  const fromMs = Date.now();
  try {
    const path = await buildTool(name, (line) => {
      console.log(`${step} ${line}`);
    });
    console.log(`${step} ${name} ready in ${((Date.now() - fromMs) / 1000).toFixed(1)} s: ${path}`);
  } catch (error) {
    if (!(error instanceof ToolMissing)) throw error;
    console.error(`${step} ${name} failed: ${error.message}`);
    process.exitCode = 1;
  }
}

if (asked.length === 0) {
  for (const name of Object.keys(debianPrograms) as DebianProgram[]) {
    try {
      console.log(`${name}: ${await findProgram(name)}`);
    } catch (error) {
      if (!(error instanceof ToolMissing)) throw error;
      console.error(`${name} failed: ${error.message}`);
      process.exitCode = 1;
    }
  }
}
