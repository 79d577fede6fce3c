#!/usr/bin/env node
// Starts the command line. Plain JavaScript that an old Node can parse, so that it can report a Node that is too old.
import { existsSync } from 'node:fs'

// The newest security releases of the supported lines, as in `engines` of package.json; a test compares the two.
const lines = [
  [22, 23, 2],
  [24, 18, 1],
  [26, 5, 1],
]
const found = process.versions.node.split('.').map(Number)

/** A line that is not listed has no security releases any more, unless it is newer than all of them. */
function isSafe([major, minor, patch]) {
  const line = lines.find(([lineMajor]) => lineMajor === major)
  if (!line) return major > lines[lines.length - 1][0]
  return minor > line[1] || (minor === line[1] && patch >= line[2])
}

if (!isSafe(found)) {
  const needed = lines.map(line => line.join('.')).join(', ')
  process.stderr.write(
    `starlane: needs Node ${needed} or newer in its line, found ${process.versions.node}: ` +
      'install Node 24, or in a source checkout run `npm ci` and then `npx starlane`, which uses the Node 24 it installs\n',
  )
  process.exit(2)
}

// A checkout runs its sources, even if dist/ has an old build; the published package has only dist/.
const source = new URL('../proxy/cli/main.ts', import.meta.url)
const { start } = await import(existsSync(source) ? source : new URL('../dist/proxy/cli/main.js', import.meta.url))
await start()
